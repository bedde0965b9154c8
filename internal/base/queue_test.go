package base

import (
	"slices"
	"testing"
	"testing/synctest"
)

func TestQueueKeepsOrder(t *testing.T) {
	q := NewQueue[int]()
	var want, got []int
	for i := range 5000 { // far enough for it to move what is left to the front
		q.Push(2 * i)
		q.Push(2*i + 1)
		want = append(want, 2*i, 2*i+1)
		got, _ = q.Pop(got, 1)
	}
	for len(got) < len(want) {
		got, _ = q.Pop(got, 7)
	}
	if !slices.Equal(got, want) {
		t.Error("items changed their order")
	}
}

func TestQueueCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewQueue[int]()
		for range 2 {
			go func() {
				if items, ok := q.Pop(nil, 1); ok {
					t.Errorf("%v from an empty queue", items)
				}
			}()
		}
		synctest.Wait()
		q.Close()
		q.Push(1)
		if items, ok := q.Pop(nil, 1); ok {
			t.Errorf("%v from a closed queue", items)
		}
	})
}
