package render

import (
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// Fields of Perfetto's messages (protos/perfetto/trace). A test decodes traces by
// the descriptors that Perfetto publishes.
const (
	tracePacket protowire.Number = 1 // of Trace

	packetClockSnapshot   protowire.Number = 6
	packetTimestamp       protowire.Number = 8
	packetSequence        protowire.Number = 10
	packetEvent           protowire.Number = 11
	packetInterned        protowire.Number = 12
	packetSequenceFlags   protowire.Number = 13
	packetDefaults        protowire.Number = 59
	packetTrackDescriptor protowire.Number = 60

	defaultsClock protowire.Number = 58

	snapshotClock        protowire.Number = 1
	snapshotPrimaryClock protowire.Number = 2
	clockID              protowire.Number = 1
	clockTimestamp       protowire.Number = 2

	trackUUID     protowire.Number = 1
	trackName     protowire.Number = 2
	trackParent   protowire.Number = 5
	trackCounter  protowire.Number = 8
	trackOrdering protowire.Number = 11
	trackRank     protowire.Number = 12
	trackMerging  protowire.Number = 15

	counterUnit protowire.Number = 6

	eventCategory protowire.Number = 3
	eventArg      protowire.Number = 4
	eventType     protowire.Number = 9
	eventName     protowire.Number = 10
	eventTrack    protowire.Number = 11
	eventDouble   protowire.Number = 44

	argName   protowire.Number = 1
	argBool   protowire.Number = 2
	argInt    protowire.Number = 4
	argDouble protowire.Number = 5
	argText   protowire.Number = 17

	internedCategories protowire.Number = 1
	internedNames      protowire.Number = 2
	internedArgs       protowire.Number = 3
	internedTexts      protowire.Number = 29
	internedID         protowire.Number = 1
	internedText       protowire.Number = 2
)

// Values of their enums.
const (
	clockRealtime  = 1
	clockMonotonic = 3

	sequenceCleared = 1 // what was interned before is void
	sequenceNeeds   = 2 // reads what was interned

	sliceBegin = 1
	sliceEnd   = 2
	instant    = 3
	counter    = 4

	orderExplicit = 3 // of child tracks
	mergeNever    = 2 // with siblings of the same name
)

// message is an encoded one, which grows field by field.
type message []byte

func (m message) uint(field protowire.Number, v uint64) message {
	return protowire.AppendVarint(protowire.AppendTag(m, field, protowire.VarintType), v)
}

func (m message) double(field protowire.Number, v float64) message {
	return protowire.AppendFixed64(protowire.AppendTag(m, field, protowire.Fixed64Type), math.Float64bits(v))
}

func (m message) text(field protowire.Number, v string) message {
	return protowire.AppendString(protowire.AppendTag(m, field, protowire.BytesType), v)
}

func (m message) message(field protowire.Number, v message) message {
	return protowire.AppendBytes(protowire.AppendTag(m, field, protowire.BytesType), v)
}
