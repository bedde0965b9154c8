package sim

import "weir/internal/api"

// mirror asks for M, which has what S has.
func (g *operations) mirror() operation {
	c := plainStream("M", "", 0)
	c.Storage, c.Subjects = "", nil
	c.AllowMsgTTL = g.config.AllowMsgTTL
	c.Mirror = &api.StreamSource{Name: "S"}
	switch g.rand.IntN(4) {
	case 0:
		c.Mirror.FilterSubject = choose(g, "s.a", "s.d.*")
	case 1:
		c.Mirror.SubjectTransforms = g.transforms()
	case 2:
		c.Mirror.OptStartSeq = uint64(g.rand.IntN(8))
	}
	return g.ask("STREAM.CREATE.M", c)
}

// source asks for A, which has messages of its own and some of S.
func (g *operations) source(subject string) operation {
	c := plainStream("A", "a.>", 0)
	c.Storage = ""
	c.AllowMsgTTL, c.AllowMsgCounter = g.config.AllowMsgTTL, g.config.AllowMsgCounter
	c.MaxMsgsPer = choose(g, int64(-1), -1, 2)
	c.Sources = []*api.StreamSource{g.origin()} // of several, the messages would come in no order
	return g.ask(subject, c)
}

// origin is S as a source.
func (g *operations) origin() *api.StreamSource {
	switch src := (&api.StreamSource{Name: "S"}); g.rand.IntN(3) {
	case 0:
		src.FilterSubject = choose(g, "s.a", "s.d.*", "s.due")
		return src
	case 1:
		src.SubjectTransforms = g.transforms()
		return src
	default:
		return src
	}
}

func (g *operations) transforms() []api.SubjectTransform {
	list := []api.SubjectTransform{
		{Source: "s.d.*", Destination: "a.d.{{wildcard(1)}}"}, {Source: "s.a", Destination: "a.from.a"}, {Source: "s.b", Destination: "copied.b"},
	}
	g.rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list[:1+g.rand.IntN(len(list))]
}

// ofCopies does something to what copies S.
func (g *operations) ofCopies() operation {
	switch name := choose(g, "M", "A"); g.rand.IntN(6) {
	case 0:
		return g.source(choose(g, "STREAM.CREATE.A", "STREAM.UPDATE.A"))
	case 1:
		return g.mirror()
	case 2:
		return g.remove(name)
	case 3:
		return g.request("STREAM.PURGE."+name, api.StreamPurgeRequest{Keep: uint64(g.rand.IntN(3))})
	case 4:
		return g.request("STREAM.MSG.DELETE."+name, api.StreamMsgDeleteRequest{Seq: uint64(g.rand.IntN(15))})
	default:
		return g.request("STREAM.MSG.GET."+name, api.StreamMsgGetRequest{LastFor: choose(g, "s.a", "a.d.e", ">")})
	}
}
