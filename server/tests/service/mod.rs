//! What the services promise to devices and administrators.

mod accounts;
mod administration;
mod approval;
mod artifacts;
mod claims_file;
mod collisions;
mod concurrency;
mod copies;
mod doctor;
mod enrollment;
mod factory;
mod import;
mod managed;
mod operations;
mod refusals;
mod reselling;
mod restored;
mod retention;
mod sign_in;
