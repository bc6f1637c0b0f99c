//! Certificates: an authority of the test's own, and what it signs.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType, date_time_ymd};
use revocation_hub::config::Config;

use crate::harness::Place;

/// An authority.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, as PEM.
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, format!("authority {:08x}", rand::random::<u32>()));
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    pub fn sign(&self, params: CertificateParams) -> Pair {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// For a hub on this machine.
    pub fn server(&self) -> Pair {
        self.sign(server())
    }

    /// For a client with this common name, and with these alternative names.
    pub fn client(&self, name: &str, alternatives: Vec<SanType>) -> Pair {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.subject_alt_names = alternatives;
        self.sign(params)
    }
}

/// What a certificate for a hub on this machine says.
pub fn server() -> CertificateParams {
    CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap()
}

/// The same, but it has expired.
pub fn expired(mut params: CertificateParams) -> CertificateParams {
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
    params
}

impl Pair {
    /// Certificate and key in one text, as clients take them.
    pub fn together(&self) -> String {
        format!("{}{}", self.certificate, self.key)
    }

    /// Files with the two.
    pub fn write(&self, place: &Place, name: &str) -> (PathBuf, PathBuf) {
        (file(place, &format!("{name}.crt"), &self.certificate), file(place, &format!("{name}.key"), &self.key))
    }
}

/// A file of the test.
pub fn file(place: &Place, name: &str, text: &str) -> PathBuf {
    let path = place.folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// The settings of a hub that shows this certificate.
pub fn secured(place: &Place, pair: &Pair) -> Config {
    let mut config = place.config();
    let (certificate, key) = pair.write(place, "server");
    (config.tls.certificate_file, config.tls.key_file) = (Some(certificate), Some(key));
    config
}

/// A client that trusts this authority and shows this certificate.
pub fn client(trusted: &Authority, shown: Option<&Pair>) -> reqwest::Client {
    let ca = reqwest::Certificate::from_pem(trusted.pem().as_bytes()).unwrap();
    let mut builder = reqwest::Client::builder().no_proxy().tls_certs_only([ca]);
    if let Some(pair) = shown {
        builder = builder.identity(reqwest::Identity::from_pem(pair.together().as_bytes()).unwrap());
    }
    builder.build().unwrap()
}

/// Runs a program to its end and gives what it printed, errors included.
pub async fn run(program: &str, arguments: &[&str]) -> (bool, String) {
    let output = tokio::process::Command::new(program).args(arguments).stdin(Stdio::null()).output().await;
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}; ./scripts/test installs it"));
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (output.status.success(), text)
}

/// A child that goes with the test.
pub struct Running {
    child: std::process::Child,
    pub output: PathBuf,
}

impl Running {
    /// Starts a program whose output goes to a file.
    pub fn start(place: &Place, program: &str, arguments: &[&str]) -> Self {
        let output = place.folder.path().join(format!("{:016x}.out", rand::random::<u64>()));
        let file = std::fs::File::create(&output).unwrap();
        let mut command = Command::new(program);
        // Whoever reads from us must not see an end.
        command.args(arguments).stdin(Stdio::piped()).stdout(file.try_clone().unwrap()).stderr(file);
        Self { child: command.spawn().unwrap(), output }
    }

    pub fn printed(&self) -> String {
        read(&self.output)
    }

    pub fn input(&mut self) -> &mut std::process::ChildStdin {
        self.child.stdin.as_mut().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned()
}
