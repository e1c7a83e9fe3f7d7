//! `wasi:filesystem/types`: present because `std` imports it, but without effect: without preopens there are no
//! descriptors, and the handle table rejects made-up handles.

use wasmtime::{Result, component::Resource};

use crate::sandbox::{
    bindings::orchestrator::wasi::filesystem::types::{
        Advice, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry, ErrorCode, Host, HostDescriptor,
        HostDirectoryEntryStream, MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
    },
    state::OrchestratorState,
};

use super::{
    Never,
    streams::{EmptyInput, LogStream},
};

/// The result of a function on a descriptor.
type Answer<R> = Result<Result<R, ErrorCode>>;

impl OrchestratorState {
    fn none<R>(&self, descriptor: &Resource<Never>) -> Result<R> {
        self.table.get(descriptor)?.never()
    }
}

impl Host for OrchestratorState {
    fn filesystem_error_code(&mut self, error: Resource<Never>) -> Result<Option<ErrorCode>> {
        self.none(&error)
    }
}

impl HostDirectoryEntryStream for OrchestratorState {
    fn read_directory_entry(&mut self, stream: Resource<Never>) -> Answer<Option<DirectoryEntry>> {
        self.none(&stream)
    }

    fn drop(&mut self, stream: Resource<Never>) -> Result<()> {
        self.none(&stream)
    }
}

impl HostDescriptor for OrchestratorState {
    fn read_via_stream(&mut self, this: Resource<Never>, _: u64) -> Answer<Resource<EmptyInput>> {
        self.none(&this)
    }

    fn write_via_stream(&mut self, this: Resource<Never>, _: u64) -> Answer<Resource<LogStream>> {
        self.none(&this)
    }

    fn append_via_stream(&mut self, this: Resource<Never>) -> Answer<Resource<LogStream>> {
        self.none(&this)
    }

    fn advise(&mut self, this: Resource<Never>, _: u64, _: u64, _: Advice) -> Answer<()> {
        self.none(&this)
    }

    fn sync_data(&mut self, this: Resource<Never>) -> Answer<()> {
        self.none(&this)
    }

    fn get_flags(&mut self, this: Resource<Never>) -> Answer<DescriptorFlags> {
        self.none(&this)
    }

    fn get_type(&mut self, this: Resource<Never>) -> Answer<DescriptorType> {
        self.none(&this)
    }

    fn set_size(&mut self, this: Resource<Never>, _: u64) -> Answer<()> {
        self.none(&this)
    }

    fn set_times(&mut self, this: Resource<Never>, _: NewTimestamp, _: NewTimestamp) -> Answer<()> {
        self.none(&this)
    }

    fn read(&mut self, this: Resource<Never>, _: u64, _: u64) -> Answer<(Vec<u8>, bool)> {
        self.none(&this)
    }

    fn write(&mut self, this: Resource<Never>, _: Vec<u8>, _: u64) -> Answer<u64> {
        self.none(&this)
    }

    fn read_directory(&mut self, this: Resource<Never>) -> Answer<Resource<Never>> {
        self.none(&this)
    }

    fn sync(&mut self, this: Resource<Never>) -> Answer<()> {
        self.none(&this)
    }

    fn create_directory_at(&mut self, this: Resource<Never>, _: String) -> Answer<()> {
        self.none(&this)
    }

    fn stat(&mut self, this: Resource<Never>) -> Answer<DescriptorStat> {
        self.none(&this)
    }

    fn stat_at(&mut self, this: Resource<Never>, _: PathFlags, _: String) -> Answer<DescriptorStat> {
        self.none(&this)
    }

    fn set_times_at(
        &mut self,
        this: Resource<Never>,
        _: PathFlags,
        _: String,
        _: NewTimestamp,
        _: NewTimestamp,
    ) -> Answer<()> {
        self.none(&this)
    }

    fn link_at(&mut self, this: Resource<Never>, _: PathFlags, _: String, _: Resource<Never>, _: String) -> Answer<()> {
        self.none(&this)
    }

    fn open_at(
        &mut self,
        this: Resource<Never>,
        _: PathFlags,
        _: String,
        _: OpenFlags,
        _: DescriptorFlags,
    ) -> Answer<Resource<Never>> {
        self.none(&this)
    }

    fn readlink_at(&mut self, this: Resource<Never>, _: String) -> Answer<String> {
        self.none(&this)
    }

    fn remove_directory_at(&mut self, this: Resource<Never>, _: String) -> Answer<()> {
        self.none(&this)
    }

    fn rename_at(&mut self, this: Resource<Never>, _: String, _: Resource<Never>, _: String) -> Answer<()> {
        self.none(&this)
    }

    fn symlink_at(&mut self, this: Resource<Never>, _: String, _: String) -> Answer<()> {
        self.none(&this)
    }

    fn unlink_file_at(&mut self, this: Resource<Never>, _: String) -> Answer<()> {
        self.none(&this)
    }

    fn is_same_object(&mut self, this: Resource<Never>, _: Resource<Never>) -> Result<bool> {
        self.none(&this)
    }

    fn metadata_hash(&mut self, this: Resource<Never>) -> Answer<MetadataHashValue> {
        self.none(&this)
    }

    fn metadata_hash_at(&mut self, this: Resource<Never>, _: PathFlags, _: String) -> Answer<MetadataHashValue> {
        self.none(&this)
    }

    fn drop(&mut self, this: Resource<Never>) -> Result<()> {
        self.none(&this)
    }
}
