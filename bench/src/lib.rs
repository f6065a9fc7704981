//! What the benchmarks are made of: the services, the load, the figures and
//! the report. The scenarios themselves are in [`scenario`].

pub mod background;
pub mod bare;
pub mod context;
pub mod cpu;
pub mod fill;
pub mod load;
pub mod machine;
pub mod measure;
pub mod nginx;
pub mod peers;
pub mod proxy;
pub mod redis_facts;
pub mod registry;
pub mod report;
pub mod scenario;
pub mod stack;
pub mod stats;
