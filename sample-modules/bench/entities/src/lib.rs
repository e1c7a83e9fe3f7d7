//! The component with the entity of `windlass bench`. Its code is in the crate `bench-model`.

windlass_sdk::export!(entities: [bench_model::BenchCounter]);
