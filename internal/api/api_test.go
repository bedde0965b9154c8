package api

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"testing"
)

// documents maps the type field to the Go type of each document.
var documents = map[string]any{
	AccountInfoResponseType:            AccountInfoResponse{},
	AccountPurgeResponseType:           AccountPurgeResponse{},
	ConsumerCreateResponseType:         ConsumerCreateResponse{},
	ConsumerDeleteResponseType:         SuccessResponse{},
	ConsumerInfoResponseType:           ConsumerInfoResponse{},
	ConsumerLeaderStepdownResponseType: SuccessResponse{},
	ConsumerListResponseType:           ConsumerListResponse{},
	ConsumerNamesResponseType:          ConsumerNamesResponse{},
	ConsumerPauseResponseType:          ConsumerPauseResponse{},
	ConsumerResetResponseType:          ConsumerResetResponse{},
	ConsumerUnpinResponseType:          ConsumerUnpinResponse{},
	MetaLeaderStepdownResponseType:     SuccessResponse{},
	MetaRescueResponseType:             MetaRescueResponse{},
	MetaServerEvacuateResponseType:     SuccessResponse{},
	MetaServerRemoveResponseType:       SuccessResponse{},
	StreamCancelMoveResponseType:       StreamCancelMoveResponse{},
	StreamCreateResponseType:           StreamCreateResponse{},
	StreamDeleteResponseType:           SuccessResponse{},
	StreamEvacuatePeerResponseType:     SuccessResponse{},
	StreamInfoResponseType:             StreamInfoResponse{},
	StreamLeaderStepdownResponseType:   SuccessResponse{},
	StreamListResponseType:             StreamListResponse{},
	StreamMsgDeleteResponseType:        SuccessResponse{},
	StreamMsgGetResponseType:           StreamMsgGetResponse{},
	StreamNamesResponseType:            StreamNamesResponse{},
	StreamPurgeResponseType:            StreamPurgeResponse{},
	StreamRemovePeerResponseType:       SuccessResponse{},
	StreamRestoreResponseType:          StreamRestoreResponse{},
	StreamSnapshotResponseType:         StreamSnapshotResponse{},
	StreamUpdateResponseType:           StreamUpdateResponse{},

	APIAuditAdvisoryType:              APIAudit{},
	ConsumerActionAdvisoryType:        ConsumerAction{},
	ConsumerGroupPinnedAdvisoryType:   ConsumerGroupPinned{},
	ConsumerGroupUnpinnedAdvisoryType: ConsumerGroupUnpinned{},
	ConsumerLeaderElectedAdvisoryType: ConsumerLeaderElected{},
	ConsumerPauseAdvisoryType:         ConsumerPauseAdvisory{},
	ConsumerQuorumLostAdvisoryType:    ConsumerQuorumLost{},
	DomainLeaderElectedAdvisoryType:   DomainLeaderElected{},
	MaxDeliverAdvisoryType:            MaxDeliveries{},
	NakAdvisoryType:                   MsgNaked{},
	SnapshotCompleteAdvisoryType:      SnapshotComplete{},
	SnapshotCreateAdvisoryType:        SnapshotCreate{},
	RestoreCompleteAdvisoryType:       RestoreComplete{},
	RestoreCreateAdvisoryType:         RestoreCreate{},
	ServerRemovedAdvisoryType:         ServerRemoved{},
	StreamActionAdvisoryType:          StreamAction{},
	StreamLeaderElectedAdvisoryType:   StreamLeaderElected{},
	StreamQuorumLostAdvisoryType:      StreamQuorumLost{},
	TerminatedAdvisoryType:            MsgTerminated{},
	ConsumerAckMetricType:             ConsumerAckMetric{},
	"":                                PubAck{},
}

// TestObserved decodes and encodes documents recorded from the established
// server: no field may be unknown, missing or added.
func TestObserved(t *testing.T) {
	f, err := os.Open("testdata/observed.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var head struct{ Type string }
		if err := json.Unmarshal(lines.Bytes(), &head); err != nil {
			t.Fatal(err)
		}
		doc, ok := documents[head.Type]
		if !ok {
			t.Errorf("no Go type for %s", head.Type)
			continue
		}
		roundTrip(t, lines.Bytes(), reflect.New(reflect.TypeOf(doc)).Interface())
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
}

func roundTrip(t *testing.T, in []byte, doc any) {
	t.Helper()
	strict := json.NewDecoder(bytes.NewReader(in))
	strict.DisallowUnknownFields()
	if err := strict.Decode(doc); err != nil {
		t.Errorf("%s: %v", in, err)
		return
	}
	out, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	var before, after any
	if err := json.Unmarshal(in, &before); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out, &after); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(before, after) {
		t.Errorf("%T\nread  %s\nwrote %s", doc, in, out)
	}
}

// TestFailureIsTheEnvelope: an answer with an error shows no zero fields.
func TestFailureIsTheEnvelope(t *testing.T) {
	out, err := json.Marshal(StreamCreateResponse{Response: Response{Type: StreamCreateResponseType}})
	if err != nil || string(out) != `{"type":"io.nats.jetstream.api.v1.stream_create_response"}` {
		t.Errorf("%s, %v", out, err)
	}
}
