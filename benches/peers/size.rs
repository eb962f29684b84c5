//! The files.

use std::fs;

use crate::table::{Table, Unit};
use crate::{Bench, Result};

/// Adds what each binary takes on disk, without the libraries that a dynamic one needs.
pub fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let sizes = bench.subjects.iter().map(|subject| Ok(Some(fs::metadata(&subject.path)?.len() as f64)));
    table.single("size", "Binary", Unit::Bytes, sizes.collect::<Result<_>>()?);
    Ok(())
}
