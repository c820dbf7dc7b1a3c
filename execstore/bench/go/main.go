// Bacalhau's execution store as it uses bbolt, reduced to what costs time: the same buckets, keys, transactions and
// JSON, without the rest of Bacalhau. It speaks the protocol of execstore/bench/worker.py on its standard input and
// output, does a batch a line and times itself, so that the pipe isn't measured.
//
// It does a little less than the original (no validation, no merge by reflection), never more.
package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"sort"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
)

type request struct {
	Do       string  `json:"do"`
	Numbers  []int   `json:"numbers"`
	Argument string  `json:"argument"`
	Threads  int     `json:"threads"`
	Seconds  float64 `json:"seconds"`
}

type reply struct {
	Ns      []int64 `json:"ns"`
	Results []int   `json:"results"`
	FromNs  int64   `json:"from_ns"`
	UntilNs int64   `json:"until_ns"`
	Error   string  `json:"error,omitempty"`
}

var (
	executionsBucket = []byte("v2_executions")
	ownEventsBucket  = []byte("v2_execution_events")
	byJobBucket      = []byte("v2_idx_executions_by_job_id")
	byStateBucket    = []byte("v2_idx_executions_by_state")
	logBucket        = []byte("v2_events")
	topLevel         = [][]byte{
		executionsBucket, ownEventsBucket, byJobBucket, byStateBucket, logBucket,
		[]byte("v2_checkpoints"), []byte("v2_sequence_tracking"),
	}
	stateNames = []string{
		"Undefined", "New", "AskForBid", "AskForBidAccepted", "AskForBidRejected", "BidAccepted", "Running",
		"Publishing", "BidRejected", "Completed", "Failed", "Cancelled",
	}
	errThereAlready = errors.New("execution already exists")
	errNotFound     = errors.New("not found")
	start           = time.Now()
)

type store struct {
	path     string
	db       *bolt.DB
	template execution
}

func main() {
	signal.Ignore(os.Interrupt) // Ctrl-C ends the one who asks, and with it the input
	folder, document := os.Args[1], os.Args[2]
	s := &store{path: filepath.Join(folder, "executions.db")}
	text, err := os.ReadFile(document)
	if err == nil {
		err = json.Unmarshal(text, &s.template)
	}
	if err == nil {
		err = s.open()
	}
	out := bufio.NewWriter(os.Stdout)
	encoder := json.NewEncoder(out)
	first := reply{}
	if err != nil {
		first.Error = err.Error()
	}
	_ = encoder.Encode(first)
	_ = out.Flush()
	if err != nil {
		os.Exit(1)
	}
	decoder := json.NewDecoder(bufio.NewReader(os.Stdin))
	for {
		var asked request
		if decoder.Decode(&asked) != nil {
			break
		}
		_ = encoder.Encode(s.serve(asked))
		_ = out.Flush()
	}
	_ = s.db.Close()
}

func (s *store) open() error {
	db, err := bolt.Open(s.path, 0o600, &bolt.Options{Timeout: time.Second})
	if err != nil {
		return err
	}
	s.db = db
	return db.Update(func(tx *bolt.Tx) error {
		for _, name := range topLevel {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *store) serve(asked request) reply {
	if asked.Do == "fill" {
		if err := s.fill(asked.Numbers[0]); err != nil {
			return reply{Error: err.Error()}
		}
		return reply{}
	}
	operations := map[string]func(int, string) (int, error){
		"create": s.create, "update": s.update, "add_event": s.addEvent, "delete": s.remove,
		"lifecycle": s.lifecycle, "get": s.get, "list_job": s.list, "live": s.live, "count": s.count,
		"events": s.events, "watch": s.watch, "open": s.reopen,
	}
	operation := operations[asked.Do]
	if operation == nil {
		return reply{Error: "no such operation: " + asked.Do}
	}
	threads := asked.Threads
	if threads < 1 {
		threads = 1
	}
	parts := make([]reply, threads)
	failures := make([]error, threads)
	from := time.Since(start)
	var group sync.WaitGroup
	for thread := 0; thread < threads; thread++ {
		group.Add(1)
		go func(thread int) {
			defer group.Done()
			for index := thread; index < len(asked.Numbers); index += threads {
				if asked.Do == "open" {
					_ = s.db.Close() // what is timed is the opening
				}
				began := time.Now()
				result, err := operation(asked.Numbers[index], asked.Argument)
				parts[thread].Ns = append(parts[thread].Ns, time.Since(began).Nanoseconds())
				if err != nil {
					failures[thread] = fmt.Errorf("%s of %d: %w", asked.Do, asked.Numbers[index], err)
					return
				}
				parts[thread].Results = append(parts[thread].Results, result)
				if asked.Seconds > 0 && (time.Since(start)-from).Seconds() >= asked.Seconds {
					return
				}
			}
		}(thread)
	}
	group.Wait()
	answer := reply{FromNs: from.Nanoseconds(), UntilNs: time.Since(start).Nanoseconds()}
	for thread := range parts {
		if failures[thread] != nil {
			return reply{Error: failures[thread].Error()}
		}
		answer.Ns = append(answer.Ns, parts[thread].Ns...)
		answer.Results = append(answer.Results, parts[thread].Results...)
	}
	return answer
}

// Scattered like UUIDs, see execstore/bench/workloads.py.
func executionID(number int) string {
	return fmt.Sprintf("e-%08x-4b1c-4a6e-9d43-0123456789ab", uint32(number)*2654435761)
}

func jobID(number int) string {
	return fmt.Sprintf("j-%08x-77e0-4d5b-8a3e-0123456789ab", uint32(number/10)*2654435761)
}

func sequenceKey(number uint64) []byte {
	key := make([]byte, 8)
	binary.BigEndian.PutUint64(key, number)
	return key
}

func newEvent(message string) event {
	return event{Message: message, Topic: "Execution", Timestamp: time.Now().UTC()}
}

// --- writing ---

func (s *store) create(number int, _ string) (int, error) {
	return 1, s.db.Update(func(tx *bolt.Tx) error { return s.createIn(tx, number, 1) })
}

func (s *store) createIn(tx *bolt.Tx, number int, state int) error {
	made := s.template
	made.ID, made.JobID = executionID(number), jobID(number)
	made.ComputeState.StateType = state
	executions := tx.Bucket(executionsBucket)
	key := []byte(made.ID)
	if executions.Get(key) != nil {
		return errThereAlready
	}
	made.Revision = 1
	made.CreateTime = time.Now().UTC().UnixNano()
	made.ModifyTime = made.CreateTime
	record, err := json.Marshal(made)
	if err == nil {
		err = executions.Put(key, record)
	}
	if err == nil {
		err = addToIndex(tx, byJobBucket, made.JobID, key)
	}
	if err == nil {
		err = addToIndex(tx, byStateBucket, stateNames[state], key)
	}
	if err != nil {
		return err
	}
	happened := newEvent("created")
	if err := addOwnEvent(tx, key, happened); err != nil {
		return err
	}
	return addToLog(tx, "CREATE", "ExecutionUpsert", upsert{Current: &made, Events: []event{happened}})
}

func (s *store) update(number int, state string) (int, error) {
	revision := 0
	err := s.db.Update(func(tx *bolt.Tx) error {
		executions := tx.Bucket(executionsBucket)
		key := []byte(executionID(number))
		text := executions.Get(key)
		if text == nil {
			return errNotFound
		}
		var stored execution
		if err := json.Unmarshal(text, &stored); err != nil {
			return err
		}
		if stored.ComputeState.StateType >= 8 || stored.ComputeState.StateType == 4 {
			return errors.New("terminal")
		}
		changed := stored
		changed.ComputeState = executionState{StateType: stateNumber(state), Message: "now " + state}
		changed.Revision++
		changed.ModifyTime = time.Now().UTC().UnixNano()
		record, err := json.Marshal(changed)
		if err == nil {
			err = executions.Put(key, record)
		}
		if err != nil {
			return err
		}
		if changed.ComputeState.StateType != stored.ComputeState.StateType {
			old := tx.Bucket(byStateBucket).Bucket([]byte(stateNames[stored.ComputeState.StateType]))
			if err := old.Delete(key); err != nil {
				return err
			}
			if err := addToIndex(tx, byStateBucket, state, key); err != nil {
				return err
			}
		}
		happened := newEvent(state)
		if err := addOwnEvent(tx, key, happened); err != nil {
			return err
		}
		revision = changed.Revision
		whole := upsert{Current: &changed, Previous: &stored, Events: []event{happened}}
		return addToLog(tx, "UPDATE", "ExecutionUpsert", whole)
	})
	return revision, err
}

func (s *store) addEvent(number int, _ string) (int, error) {
	return 1, s.db.Update(func(tx *bolt.Tx) error {
		key := []byte(executionID(number))
		if tx.Bucket(executionsBucket).Get(key) == nil {
			return errNotFound
		}
		return addOwnEvent(tx, key, newEvent("something happened"))
	})
}

func (s *store) remove(number int, _ string) (int, error) {
	return 1, s.db.Update(func(tx *bolt.Tx) error {
		executions := tx.Bucket(executionsBucket)
		key := []byte(executionID(number))
		text := executions.Get(key)
		if text == nil {
			return errNotFound
		}
		var stored execution
		if err := json.Unmarshal(text, &stored); err != nil {
			return err
		}
		if err := executions.Delete(key); err != nil {
			return err
		}
		if tx.Bucket(ownEventsBucket).Bucket(key) != nil {
			if err := tx.Bucket(ownEventsBucket).DeleteBucket(key); err != nil {
				return err
			}
		}
		jobs := tx.Bucket(byJobBucket)
		if job := jobs.Bucket([]byte(stored.JobID)); job != nil {
			if err := job.Delete(key); err != nil {
				return err
			}
			if first, _ := job.Cursor().First(); first == nil {
				if err := jobs.DeleteBucket([]byte(stored.JobID)); err != nil {
					return err
				}
			}
		}
		state := tx.Bucket(byStateBucket).Bucket([]byte(stateNames[stored.ComputeState.StateType]))
		return state.Delete(key)
	})
}

func (s *store) lifecycle(number int, _ string) (int, error) {
	if _, err := s.create(number, ""); err != nil {
		return 0, err
	}
	revision := 0
	for _, state := range []string{"BidAccepted", "Running", "Publishing", "Completed"} {
		var err error
		if revision, err = s.update(number, state); err != nil {
			return 0, err
		}
	}
	return revision, nil
}

func (s *store) fill(count int) error {
	s.db.NoSync = true
	defer func() { s.db.NoSync = false }()
	for first := 0; first < count; first += 1000 {
		err := s.db.Update(func(tx *bolt.Tx) error {
			for number := first; number < first+1000 && number < count; number++ {
				state := 1
				if number%100 == 0 {
					state = 6
				}
				if err := s.createIn(tx, number, state); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return s.db.Sync()
}

func addToIndex(tx *bolt.Tx, index []byte, name string, key []byte) error {
	group, err := tx.Bucket(index).CreateBucketIfNotExists([]byte(name))
	if err != nil {
		return err
	}
	return group.Put(key, nil)
}

func addOwnEvent(tx *bolt.Tx, key []byte, happened event) error {
	own, err := tx.Bucket(ownEventsBucket).CreateBucketIfNotExists(key)
	if err != nil {
		return err
	}
	number, err := own.NextSequence()
	if err != nil {
		return err
	}
	text, err := json.Marshal(happened)
	if err != nil {
		return err
	}
	if err := own.Put(sequenceKey(number), text); err != nil {
		return err
	}
	return addToLog(tx, "CREATE", "ExecutionEvent", happened)
}

func addToLog(tx *bolt.Tx, operation, objectType string, object any) error {
	log := tx.Bucket(logBucket)
	number, err := log.NextSequence()
	if err != nil {
		return err
	}
	inner, err := json.Marshal(object)
	if err != nil {
		return err
	}
	now := time.Now().UTC().UnixNano()
	text, err := json.Marshal(logEntry{number, operation, objectType, inner, now})
	if err != nil {
		return err
	}
	return log.Put(append(sequenceKey(number), sequenceKey(uint64(now))...), text)
}

// --- reading ---

func (s *store) get(number int, _ string) (int, error) {
	var found execution
	err := s.db.View(func(tx *bolt.Tx) error { return read(tx, []byte(executionID(number)), &found) })
	return found.Revision, err
}

func read(tx *bolt.Tx, key []byte, into *execution) error {
	text := tx.Bucket(executionsBucket).Get(key)
	if text == nil {
		return errNotFound
	}
	return json.Unmarshal(text, into)
}

func readGroup(tx *bolt.Tx, group *bolt.Bucket, found []*execution) ([]*execution, error) {
	if group == nil {
		return found, nil
	}
	err := group.ForEach(func(key, _ []byte) error {
		one := new(execution)
		found = append(found, one)
		return read(tx, key, one)
	})
	return found, err
}

func newestFirst(found []*execution) {
	sort.Slice(found, func(i, j int) bool { return found[i].ModifyTime > found[j].ModifyTime })
}

func (s *store) list(number int, _ string) (int, error) {
	var found []*execution
	err := s.db.View(func(tx *bolt.Tx) (err error) {
		found, err = readGroup(tx, tx.Bucket(byJobBucket).Bucket([]byte(jobID(number))), found)
		return err
	})
	newestFirst(found)
	return len(found), err
}

func (s *store) live(int, string) (int, error) {
	var found []*execution
	err := s.db.View(func(tx *bolt.Tx) (err error) {
		for _, state := range []string{"BidAccepted", "Running", "Publishing"} {
			if found, err = readGroup(tx, tx.Bucket(byStateBucket).Bucket([]byte(state)), found); err != nil {
				return err
			}
		}
		return nil
	})
	newestFirst(found)
	return len(found), err
}

func (s *store) count(_ int, state string) (int, error) {
	count := 0
	return count, s.db.View(func(tx *bolt.Tx) error {
		if group := tx.Bucket(byStateBucket).Bucket([]byte(state)); group != nil {
			count = group.Stats().KeyN
		}
		return nil
	})
}

func (s *store) events(number int, _ string) (int, error) {
	var found []event
	err := s.db.View(func(tx *bolt.Tx) error {
		own := tx.Bucket(ownEventsBucket).Bucket([]byte(executionID(number)))
		if own == nil {
			return errNotFound
		}
		return own.ForEach(func(_, text []byte) error {
			var one event
			err := json.Unmarshal(text, &one)
			found = append(found, one)
			return err
		})
	})
	return len(found), err
}

func (s *store) watch(number int, _ string) (int, error) {
	found := make([]any, 0, 100)
	err := s.db.View(func(tx *bolt.Tx) error {
		cursor := tx.Bucket(logBucket).Cursor()
		for key, text := cursor.Seek(sequenceKey(uint64(number))); key != nil && len(found) < 100; key, text = cursor.Next() {
			var entry logEntry
			if err := json.Unmarshal(append([]byte(nil), text...), &entry); err != nil {
				return err
			}
			var object any = new(event)
			if entry.ObjectType == "ExecutionUpsert" {
				object = new(upsert)
			}
			if err := json.Unmarshal(entry.Object, object); err != nil {
				return err
			}
			found = append(found, object)
		}
		return nil
	})
	return len(found), err
}

func (s *store) reopen(number int, _ string) (int, error) {
	if err := s.open(); err != nil {
		return 0, err
	}
	return s.get(number, "")
}

func stateNumber(name string) int {
	for number, each := range stateNames {
		if each == name {
			return number
		}
	}
	return 0
}
