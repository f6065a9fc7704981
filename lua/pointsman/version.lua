-- The version of Pointsman, as in Cargo.toml. All phases.

return "0.1.0"
