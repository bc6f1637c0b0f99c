//! STUB
pub mod promise;
pub mod sse;
