//! What diagnosis says of a simulated cluster in every situation it is made for.

mod all_silent;
mod cut_off;
mod overload;
mod random;
mod restarts;
mod silence;
mod start;
mod world;
