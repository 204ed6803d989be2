package clock_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coordinator-ha/coordinator/internal/clock"
)

func TestStandstill_IsFoundByWhoeverAsksFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := clock.NewStandstill()
		<-time.After(time.Second)
		if !s.Found().IsZero() {
			t.Error("a second is a standstill")
		}
		<-time.After(time.Second + time.Millisecond)
		found := s.Found()
		if found.IsZero() || found.Age() > time.Second {
			t.Fatalf("found %+v", found)
		}
		<-time.After(time.Second / 2)
		if again := s.Found(); again != found {
			t.Errorf("found again: %+v", again)
		}
	})
}

func TestStandstill_WatchedProcessMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := clock.NewStandstill()
		ended := make(chan struct{})
		var watching sync.WaitGroup
		watching.Go(func() { s.Watch(ended) })
		<-time.After(time.Hour)
		if !s.Found().IsZero() {
			t.Error("it stood still")
		}
		close(ended)
		watching.Wait()
	})
}
