package main

import "github.com/pmtrace/pmtrace/decode/record"

// decoded is decode.Pipeline as a pipeline.
type decoded struct{}

func newDecoder(record.Sink) decoded { return decoded{} }

func (decoded) Record(kind byte, payload []byte) error { return nil }
func (decoded) Live() live                             { return live{} }
func (decoded) Close() error                           { return nil }
