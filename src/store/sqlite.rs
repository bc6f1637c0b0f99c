//! placeholder
use super::{Options, StoreError};
pub struct SqliteStore;
impl SqliteStore { pub async fn open(_:&str,_:&Options)->Result<Self,StoreError>{todo!()} }
