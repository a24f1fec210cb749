//! The file of a static cluster: placeholder while the API is agreed.
