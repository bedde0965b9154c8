package differential

import "strings"

// operate is a request of who runs the servers. What would move a leader or a replica
// is asked with a fault, as what follows would depend on how long that takes.
func (g *generator) operate() *step {
	name := g.stream()
	body := func(bodies ...string) string { return oneOf(g, bodies...) }
	is := func(verb, text string) *step { return &step{subject: "$JS.API." + verb, body: text} }
	switch g.IntN(14) {
	case 0:
		return is("STREAM.LEADER.STEPDOWN."+name, body(`{"placement":{"preferred":"none"}}`, `{"placement":{"cluster":"none"}}`, `{"placement":{"tags":["none"]}}`))
	case 1:
		return is("STREAM.LEADER.STEPDOWN.NONE", body("", "{}", "x"))
	case 2:
		return is("STREAM.PEER.REMOVE."+name, body(`{"peer":"none"}`, `{"peer":""}`, "", "x", "{}"))
	case 3:
		return is("STREAM.PEER.EVACUATE."+name, body(`{"peer":"none"}`, `{"peer":""}`, "", "x"))
	case 4:
		return is("STREAM.CANCEL_MOVE."+name, body("", "{}", "x"))
	case 5:
		return is("STREAM.SNAPSHOT."+name, body("", "{}", "x", `{"deliver_subject":""}`, `{"deliver_subject":"bad..x"}`, `{"deliver_subject":"a.*"}`, `{"chunk_size":5}`))
	case 6:
		return g.restore(name)
	case 7:
		return is("CONSUMER.LEADER.STEPDOWN."+name+"."+oneOf(g, "none", "none", "c"), `{"placement":{"preferred":"none"}}`)
	case 8:
		return is("CONSUMER.INFO."+name+"."+oneOf(g, "none", "c", "d"), body("", "", "{}"))
	case 9:
		return is("CONSUMER."+oneOf(g, "LIST.", "NAMES.")+name, body("", `{"offset":0}`, `{"offset":1}`, `{"offset":-1}`, `{"offset":100}`))
	case 10:
		return is(oneOf(g, "CONSUMER.PAUSE.", "CONSUMER.UNPIN.", "CONSUMER.RESET.")+name+"."+oneOf(g, "none", "c", "d"), body("", "{}", "x", `{"group":"g"}`, `{"seq":1}`, `{"seq":0}`))
	}
	return g.operateServers(name)
}

// restore is the first request of one, with a fault.
func (g *generator) restore(name string) *step {
	cfg := g.base(name)
	s := &step{subject: "$JS.API.STREAM.RESTORE." + name}
	s.body = oneOf(g, "", "{}", "x", encoded(document{"config": document{"name": "OTHER"}}), encoded(document{"config": g.with(cfg, "retention", "none")}),
		encoded(document{"config": g.with(cfg, "max_age", -5)}), encoded(document{"config": g.with(cfg, "num_replicas", 9)}),
		encoded(document{"config": g.with(cfg, "num_replicas", -1)}), encoded(document{"config": g.with(cfg, "subjects", []string{"a..b"})}))
	return s
}

func (g *generator) with(cfg document, field string, value any) document {
	other := document{field: value}
	for k, v := range cfg {
		if k != field {
			other[k] = v
		}
	}
	return other
}

// operateServers is a request that only the system account may make.
func (g *generator) operateServers(name string) *step {
	account := oneOf(g, "APP", "LIM", "NONE")
	s := &step{as: systemUser}
	switch g.IntN(7) {
	case 0:
		s.subject, s.body = "META.LEADER.STEPDOWN", oneOf(g, `{"placement":{"preferred":"none"}}`, `{"placement":{"cluster":"none"}}`, `{"placement":{"tags":["none"]}}`)
	case 1:
		s.subject, s.body = "SERVER.REMOVE", oneOf(g, "", "x", "{}", `{"peer":"none"}`, `{"peer_id":"none"}`, `{"peer":"none","peer_id":"none"}`)
	case 2:
		s.subject, s.body = "SERVER.EVACUATE", oneOf(g, "", "x", "{}", `{"peer":"none"}`, `{"peer_id":"none"}`)
	case 3:
		s.subject, s.body = "ACCOUNT.PURGE.NONE", oneOf(g, "", "{}", "x")
	case 4, 5:
		s.subject = "ACCOUNT.STREAM.MOVE." + account + "." + name
		s.body = oneOf(g, "", "x", "{}", `{"server":"none"}`, `{"cluster":"none"}`, `{"tags":["none"]}`, `{"server":"none","cluster":"none"}`)
	case 6:
		s.subject, s.body = "ACCOUNT.STREAM.CANCEL_MOVE."+account+"."+name, oneOf(g, "", "x", "{}")
	}
	s.subject = "$JS.API." + s.subject
	if g.percent(15) {
		s.as = "" // who may not
	}
	s.silent = s.as == "" || g.Replicas == 1 || strings.HasPrefix(s.subject, "$JS.API.META.")
	return s
}
