//! The actions log.

mod reader;
mod transaction;
mod writer;

pub use reader::{ActionLogReader, LogEvent};
pub use writer::{ActionLogWriter, AppendError, OpenError};
