-- The rewinds of the execution that was rewound last, in the codec of the model: which turns later ones supersede. NULL
-- for instances that were never rewound.
ALTER TABLE instances ADD COLUMN rewinds BLOB;
