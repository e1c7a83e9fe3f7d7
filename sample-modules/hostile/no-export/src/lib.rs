//! A component without an export that the host knows. The host refuses it at upload.
