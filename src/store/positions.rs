//! Positions: how far each outlet that *sends* has come, and which replica sends at the moment.

use std::time::Duration;

use async_trait::async_trait;

use super::StoreError;
use crate::revocation::Cursor;

/// An outlet's position, held by this replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Everything up to here was delivered; `None` for an outlet that has never delivered.
    pub cursor: Option<Cursor>,
}

/// The positions of outlets. Times are the database's, so that the clocks of replicas do not matter.
#[async_trait]
pub trait Positions: Send + Sync {
    /// Takes the outlet for `holder` (a random name of this process), or keeps it, for the next `lease`. `None` while another
    /// holder has it.
    async fn hold(&self, outlet: &str, holder: &str, lease: Duration) -> Result<Option<Held>, StoreError>;

    /// Moves the position. False, and nothing is changed, when `holder` no longer has the outlet.
    async fn advance(&self, outlet: &str, holder: &str, cursor: &Cursor) -> Result<bool, StoreError>;

    /// Gives the outlet up, so that another replica need not wait for the end of the lease.
    async fn release(&self, outlet: &str, holder: &str) -> Result<(), StoreError>;
}
