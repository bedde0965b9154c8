package jetstream

import (
	"testing"

	"weir/internal/api"
)

// What is told of sources comes in the order in which the configuration names them.
func TestSourcesInOrder(t *testing.T) {
	h := startNodeIn(t, newMemFS(), "store")
	t.Cleanup(h.stop)
	h.until("meta leader", func() bool { return h.node.MetaLeader().Here })
	cfg := streamConfig("A", api.FileStorage, 1)
	for _, filter := range []string{"b", "a", "", "c", "d"} {
		cfg.Sources = append(cfg.Sources, &api.StreamSource{Name: "S", FilterSubject: filter})
	}
	s := h.createStream(cfg)
	for range 20 {
		_, infos := s.copying.infos(&cfg)
		for i, info := range infos {
			if info.FilterSubject != cfg.Sources[i].FilterSubject {
				t.Fatalf("source %d has filter %q", i, info.FilterSubject)
			}
		}
	}
}
