//! How is redis.conf read?
