//! Orchestrations that use the sample entities, one use per file.

mod bank_transfer;
mod counting;
mod device_readings;

windlass_sdk::export!(orchestrators: [
    bank_transfer::bank_transfer,
    bank_transfer::bank_transfer_saga,
    counting::count_together,
    device_readings::send_readings,
    device_readings::overheat_alarm,
]);
