//! A component that exports nothing the host knows, and is refused at upload for it.
