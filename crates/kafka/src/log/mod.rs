//! The actions log.

mod note;
mod reader;
mod transaction;
mod writer;

pub use note::{NoteError, note};
pub use reader::{ActionLogReader, LogEvent};
pub use writer::{ActionLogWriter, AppendError, OpenError};
