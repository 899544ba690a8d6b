//! Moving blocks between surfaces: rows of fp16 into and out of a kernel's packed surfaces.

use passes::pack::{Block, Layout};
use surface::{Error, Surface};

/// Bytes of an element.
const ELEMENT: usize = 2;

/// Copies a value, dense in its own surface, into its block of a packed one.
pub(super) fn into_block(
    value: &Surface,
    packed: &Surface,
    layout: &Layout,
    block: &Block,
) -> Result<(), Error> {
    let source = value.read()?;
    let mut target = packed.write()?;
    if block.transposed {
        into_transposed(source.as_slice(), target.as_mut_slice(), layout, block);
        return Ok(());
    }
    let row = block.columns * ELEMENT;
    let stride = layout.columns * ELEMENT;
    let first = block.row * stride + block.column * ELEMENT;
    let rows = target[first..].chunks_mut(stride);
    for (target, source) in rows.zip(source.chunks_exact(row)).take(block.rows) {
        target[..row].copy_from_slice(source);
    }
    Ok(())
}

/// Columns and rows of a tile that is transposed at a time: both sides stay in the first cache.
const TILE: usize = 32;

fn into_transposed(source: &[u16], target: &mut [u16], layout: &Layout, block: &Block) {
    // The value is `columns × rows`; row r of the block is its column r.
    for top in (0..block.rows).step_by(TILE) {
        for left in (0..block.columns).step_by(TILE) {
            for row in top..block.rows.min(top + TILE) {
                let start = (block.row + row) * layout.columns + block.column;
                for column in left..block.columns.min(left + TILE) {
                    target[start + column] = source[column * block.rows + row];
                }
            }
        }
    }
}

/// Copies a block of a packed surface to a value's own, dense.
pub(super) fn from_block(
    packed: &Surface,
    layout: &Layout,
    block: &Block,
    value: &Surface,
) -> Result<(), Error> {
    let source = packed.read()?;
    let mut target = value.write()?;
    let row = block.columns * ELEMENT;
    let stride = layout.columns * ELEMENT;
    let first = block.row * stride + block.column * ELEMENT;
    if row == stride {
        let bytes = row * block.rows;
        target[..bytes].copy_from_slice(&source[first..first + bytes]);
        return Ok(());
    }
    for (source, target) in
        source[first..].chunks(stride).zip(target.chunks_exact_mut(row)).take(block.rows)
    {
        target.copy_from_slice(&source[..row]);
    }
    Ok(())
}
