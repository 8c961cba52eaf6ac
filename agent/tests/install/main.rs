//! The install stage as a whole: on a model that can lose power at any instant, and in real
//! sandbox roots with real archives and packages.

mod cuts;
mod device;
mod faults;
mod payloads;
mod property;
mod refusals;
mod sandbox;
