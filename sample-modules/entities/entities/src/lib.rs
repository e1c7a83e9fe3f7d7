//! The component with the sample entities. Their code is in the crate `entities-model`.

windlass_sdk::export!(entities: [
    entities_model::Counter,
    entities_model::Account,
    entities_model::DeviceAggregator,
]);
