package jsapi

import "weir/internal/api"

// table lists every subject that is answered.
func table() []*endpoint {
	var list []*endpoint
	for _, part := range [][]*endpoint{accountTable, streamTable(), messageTable(), consumerTable(), systemTable()} {
		list = append(list, part...)
	}
	return list
}

var accountTable = []*endpoint{
	{subject: "INFO", class: metaLeader, waits: true, response: api.AccountInfoResponseType, handle: (*call).accountInfo,
		failure: func(r api.Response) any { return api.AccountInfoResponse{Response: r} }},
}

func streamTable() []*endpoint {
	return []*endpoint{
		{subject: "STREAM.CREATE.*", class: metaLeader, writes: true, response: api.StreamCreateResponseType, handle: (*call).streamCreate,
			failure: func(r api.Response) any { return api.StreamCreateResponse{Response: r} }},
		{subject: "STREAM.UPDATE.*", class: metaLeader, writes: true, response: api.StreamUpdateResponseType, handle: (*call).streamUpdate,
			failure: func(r api.Response) any { return api.StreamUpdateResponse{Response: r} }},
		{subject: "STREAM.DELETE.*", class: metaLeader, writes: true, response: api.StreamDeleteResponseType, handle: (*call).streamDelete},
		{subject: "STREAM.NAMES", class: metaLeader, response: api.StreamNamesResponseType, handle: (*call).streamNames,
			failure: func(r api.Response) any { return api.StreamNamesResponse{Response: r} }},
		{subject: "STREAM.LIST", class: metaLeader, waits: true, response: api.StreamListResponseType, handle: (*call).streamList,
			failure: func(r api.Response) any { return api.StreamListResponse{Response: r, Streams: []*api.StreamInfo{}} }},
		{subject: "STREAM.INFO.*", class: streamLeader, response: api.StreamInfoResponseType, handle: (*call).streamInfo,
			failure: func(r api.Response) any { return api.StreamInfoResponse{Response: r} }},
		{subject: "STREAM.PURGE.*", class: streamLeader, writes: true, response: api.StreamPurgeResponseType, handle: (*call).streamPurge,
			failure: func(r api.Response) any {
				return api.StreamPurgeResponse{SuccessResponse: api.SuccessResponse{Response: r}}
			}},
		{subject: "STREAM.SNAPSHOT.*", class: streamLeader, waits: true, response: api.StreamSnapshotResponseType, handle: (*call).streamSnapshot,
			failure: func(r api.Response) any { return api.StreamSnapshotResponse{Response: r} }},
		{subject: "STREAM.RESTORE.*", class: metaLeader, writes: true, response: api.StreamRestoreResponseType, handle: (*call).streamRestore,
			failure: func(r api.Response) any { return api.StreamRestoreResponse{Response: r} }},
		{subject: "STREAM.LEADER.STEPDOWN.*", class: streamLeader, waits: true, clustered: true, response: api.StreamLeaderStepdownResponseType, handle: (*call).streamStepdown},
		{subject: "STREAM.PEER.REMOVE.*", class: metaLeader, clustered: true, writes: true, response: api.StreamRemovePeerResponseType, handle: (*call).streamPeerRemove},
		{subject: "STREAM.PEER.EVACUATE.*", class: metaLeader, clustered: true, writes: true, response: api.StreamEvacuatePeerResponseType, handle: (*call).streamPeerEvacuate},
		{subject: "STREAM.CANCEL_MOVE.*", class: metaLeader, clustered: true, writes: true, response: api.StreamCancelMoveResponseType, handle: (*call).streamCancelMove,
			failure: func(r api.Response) any { return api.StreamCancelMoveResponse{Response: r} }},
	}
}

func messageTable() []*endpoint {
	return []*endpoint{
		{subject: "STREAM.MSG.GET.*", class: streamLeader, waits: true, response: api.StreamMsgGetResponseType, handle: (*call).streamMsgGet,
			failure: func(r api.Response) any { return api.StreamMsgGetResponse{Response: r} }},
		{subject: "STREAM.MSG.DELETE.*", class: streamLeader, writes: true, response: api.StreamMsgDeleteResponseType, handle: (*call).streamMsgDelete},
		{subject: "DIRECT.GET.*", class: directReader, handle: (*call).directGet, failure: noDocument},
		{subject: "DIRECT.GET.*.>", class: directReader, handle: (*call).directGetLast, failure: noDocument},
	}
}

func consumerTable() []*endpoint {
	created := func(r api.Response) any { return api.ConsumerCreateResponse{Response: r} }
	return []*endpoint{
		{subject: "CONSUMER.CREATE.*", class: streamLeader, bodyFirst: true, writes: true, response: api.ConsumerCreateResponseType, handle: (*call).consumerCreate, failure: created},
		{subject: "CONSUMER.CREATE.*.*", class: streamLeader, bodyFirst: true, writes: true, response: api.ConsumerCreateResponseType, handle: (*call).consumerCreate, failure: created},
		{subject: "CONSUMER.CREATE.*.*.>", class: streamLeader, bodyFirst: true, writes: true, response: api.ConsumerCreateResponseType, handle: (*call).consumerCreate, failure: created},
		{subject: "CONSUMER.DURABLE.CREATE.*.*", class: streamLeader, bodyFirst: true, writes: true, response: api.ConsumerCreateResponseType, handle: (*call).consumerDurableCreate, failure: created},
		{subject: "CONSUMER.INFO.*.*", class: consumerRunner, bodyFirst: true, waits: true, response: api.ConsumerInfoResponseType, handle: (*call).consumerInfo, failure: created},
		{subject: "CONSUMER.NAMES.*", class: streamLeader, bodyFirst: true, response: api.ConsumerNamesResponseType, handle: (*call).consumerNames,
			failure: func(r api.Response) any { return api.ConsumerNamesResponse{Response: r, Consumers: []string{}} }},
		{subject: "CONSUMER.LIST.*", class: streamLeader, bodyFirst: true, response: api.ConsumerListResponseType, handle: (*call).consumerList,
			failure: func(r api.Response) any {
				return api.ConsumerListResponse{Response: r, Consumers: []*api.ConsumerInfo{}}
			}},
		{subject: "CONSUMER.DELETE.*.*", class: streamLeader, bodyFirst: true, writes: true, response: api.ConsumerDeleteResponseType, handle: (*call).consumerDelete},
		{subject: "CONSUMER.PAUSE.*.*", class: streamLeader, bodyFirst: true, writes: true, response: api.ConsumerPauseResponseType, handle: (*call).consumerPause,
			failure: func(r api.Response) any { return api.ConsumerPauseResponse{Response: r} }},
		{subject: "CONSUMER.RESET.*.*", class: streamLeader, writes: true, response: api.ConsumerResetResponseType, handle: (*call).consumerReset,
			failure: func(r api.Response) any { return api.ConsumerResetResponse{Response: r} }},
		{subject: "CONSUMER.UNPIN.*.*", class: consumerRunner, writes: true, response: api.ConsumerUnpinResponseType, handle: (*call).consumerUnpin,
			failure: func(r api.Response) any { return api.ConsumerUnpinResponse{Response: r} }},
		{subject: "CONSUMER.LEADER.STEPDOWN.*.*", class: streamLeader, clustered: true, writes: true, response: api.ConsumerLeaderStepdownResponseType, handle: (*call).consumerStepdown},
	}
}

func systemTable() []*endpoint {
	updated := func(r api.Response) any { return api.StreamUpdateResponse{Response: r} }
	return []*endpoint{
		{subject: "META.LEADER.STEPDOWN", class: metaLeader, waits: true, clustered: true, system: true, response: api.MetaLeaderStepdownResponseType, handle: (*call).metaStepdown},
		{subject: "META.RESCUE", class: everyNode, clustered: true, system: true, response: api.MetaRescueResponseType, handle: (*call).metaRescue,
			failure: func(r api.Response) any { return api.MetaRescueResponse{Response: r} }},
		{subject: "SERVER.REMOVE", class: metaLeader, waits: true, clustered: true, system: true, response: api.MetaServerRemoveResponseType, handle: (*call).serverRemove},
		{subject: "SERVER.EVACUATE", class: metaLeader, waits: true, clustered: true, system: true, response: api.MetaServerEvacuateResponseType, handle: (*call).serverEvacuate},
		{subject: "ACCOUNT.PURGE.*", class: metaLeader, waits: true, system: true, response: api.AccountPurgeResponseType, handle: (*call).accountPurge,
			failure: func(r api.Response) any { return api.AccountPurgeResponse{Response: r} }},
		{subject: "ACCOUNT.STREAM.MOVE.*.*", class: metaLeader, waits: true, clustered: true, system: true, response: api.StreamUpdateResponseType, handle: (*call).accountStreamMove, failure: updated},
		{subject: "ACCOUNT.STREAM.CANCEL_MOVE.*.*", class: metaLeader, waits: true, clustered: true, system: true, response: api.StreamCancelMoveResponseType, handle: (*call).accountStreamCancelMove, failure: updated},
	}
}

// noDocument marks an endpoint that answers with status headers.
func noDocument(api.Response) any { return nil }
