//! Classic extension API servers behind the aggregator: what reaches them, and what comes back.

mod headers;
mod streams;
mod tls;
