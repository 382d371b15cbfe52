//! What does every family's file need? One `use` for the vocabulary of rows and handlers.

pub(crate) use crate::dispatch::args::Args;
pub(crate) use crate::dispatch::ctx::{Ctx, Mode};
pub(crate) use crate::dispatch::spec::*;
pub(crate) use crate::error::{self, Error, Result};
pub(crate) use crate::keyspace::Key;
pub(crate) use crate::keyspace::event;
pub(crate) use crate::resp::reply::Reply;
