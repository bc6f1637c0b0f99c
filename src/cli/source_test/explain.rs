//! What to do when there is no key yet. The commands and settings are run as they stand by `tests/oauth/source_test.rs`.

/// For kinds that take signed tokens.
pub fn signing_key(kind: &str) -> String {
    format!(
        "\
{kind} takes what is signed, so the sample needs a private key that the hub trusts (--signing-key FILE). To make one:

  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out source-test.pem
  openssl pkey -in source-test.pem -pubout -out source-test-public.pem

Have the hub trust it while you test and no longer, because whoever has this key can revoke:

  [[issuers]]
  issuer = \"https://source-test.invalid\"
  pem_file = \"source-test-public.pem\"

  [[sources]]
  name = \"source-test\"
  kind = \"{kind}\"
  audiences = [\"source-test\"]

If a source of this kind is there already, add to its `audiences`, and to its `issuers` if it has any. Then:

  revocation-hub source test {kind} --signing-key source-test.pem --audience source-test
"
    )
}

/// For signed webhooks.
pub fn webhook() -> &'static str {
    "\
a webhook is signed, so the sample needs the secret of one of [[clients]] (--webhook-secret-file FILE). To make one:

  (printf whsec_; openssl rand -base64 32) > source-test-secret

Have the hub trust it while you test and no longer, because whoever has this secret can revoke:

  [[clients]]
  name = \"source-test\"
  scopes = [\"publish\"]
  webhook = { secret_file = \"source-test-secret\" }

Then, with the credentials of a client that has `read` besides:

  revocation-hub source test webhook --webhook-secret-file source-test-secret

Or with a key pair (v1a of Standard Webhooks), of which the hub has only the public half:

  openssl genpkey -algorithm ed25519 -out source-test.pem
  (printf whpk_; openssl pkey -in source-test.pem -pubout -outform DER | tail -c 32 | openssl base64) > source-test-secret

  revocation-hub source test webhook --signing-key source-test.pem
"
}
