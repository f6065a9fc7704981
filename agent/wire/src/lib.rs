//! The data types of the admin API.
