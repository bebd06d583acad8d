//! Tests of the model, on snapshots made by hand.
