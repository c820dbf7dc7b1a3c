package main

import (
	"encoding/json"
	"time"
)

// The members that a docker job's execution has in Bacalhau's models, typed as there.

type event struct {
	Message   string            `json:"Message"`
	Topic     string            `json:"Topic"`
	Timestamp time.Time         `json:"Timestamp"`
	Details   map[string]string `json:"Details,omitempty"`
}

type upsert struct {
	Current  *execution
	Previous *execution
	Events   []event
}

type logEntry struct {
	SeqNum     uint64          `json:"seqNum"`
	Operation  string          `json:"operation"`
	ObjectType string          `json:"objectType"`
	Object     json.RawMessage `json:"object"`
	Timestamp  int64           `json:"timestamp"`
}

type executionState struct {
	StateType int               `json:"StateType"`
	Message   string            `json:"Message,omitempty"`
	Details   map[string]string `json:"Details,omitempty"`
}

type namedState struct {
	StateType string            `json:"StateType"`
	Message   string            `json:"Message,omitempty"`
	Details   map[string]string `json:"Details,omitempty"`
}

type specConfig struct {
	Type   string         `json:"Type"`
	Params map[string]any `json:"Params,omitempty"`
}

type resources struct {
	CPU    float64 `json:"CPU,omitempty"`
	Memory uint64  `json:"Memory,omitempty"`
	Disk   uint64  `json:"Disk,omitempty"`
	GPU    uint64  `json:"GPU,omitempty"`
}

type allocatedResources struct {
	Tasks map[string]*resources `json:"Tasks"`
}

type runOutput struct {
	Stdout          string `json:"Stdout"`
	StdoutTruncated bool   `json:"StdoutTruncated"`
	Stderr          string `json:"stderr"`
	StderrTruncated bool   `json:"StderrTruncated"`
	ExitCode        int    `json:"ExitCode"`
	ErrorMsg        string `json:"ErrorMsg"`
}

type constraint struct {
	Key      string   `json:"Key"`
	Operator string   `json:"Operator"`
	Values   []string `json:"Values,omitempty"`
}

type inputSource struct {
	Source *specConfig `json:"Source"`
	Alias  string      `json:"Alias"`
	Target string      `json:"Target"`
}

type resultPath struct {
	Name string `json:"Name"`
	Path string `json:"Path"`
}

type resourcesConfig struct {
	CPU    string `json:"CPU,omitempty"`
	Memory string `json:"Memory,omitempty"`
	Disk   string `json:"Disk,omitempty"`
	GPU    string `json:"GPU,omitempty"`
}

type network struct {
	Type    string   `json:"Type"`
	Domains []string `json:"Domains,omitempty"`
}

type timeouts struct {
	ExecutionTimeout int64 `json:"ExecutionTimeout,omitempty"`
	QueueTimeout     int64 `json:"QueueTimeout,omitempty"`
	TotalTimeout     int64 `json:"TotalTimeout,omitempty"`
}

type task struct {
	Name         string            `json:"Name"`
	Engine       *specConfig       `json:"Engine"`
	Publisher    *specConfig       `json:"Publisher"`
	Env          map[string]string `json:"Env,omitempty"`
	Meta         map[string]string `json:"Meta,omitempty"`
	InputSources []*inputSource    `json:"InputSources,omitempty"`
	ResultPaths  []*resultPath     `json:"ResultPaths,omitempty"`
	Resources    *resourcesConfig  `json:"Resources,omitempty"`
	Network      *network          `json:"Network,omitempty"`
	Timeouts     *timeouts         `json:"Timeouts,omitempty"`
}

type job struct {
	ID          string            `json:"ID"`
	Name        string            `json:"Name"`
	Namespace   string            `json:"Namespace"`
	Type        string            `json:"Type"`
	Priority    int               `json:"Priority"`
	Count       int               `json:"Count"`
	Constraints []*constraint     `json:"Constraints"`
	Meta        map[string]string `json:"Meta"`
	Labels      map[string]string `json:"Labels"`
	Tasks       []*task           `json:"Tasks"`
	State       namedState        `json:"State"`
	Version     uint64            `json:"Version"`
	Revision    uint64            `json:"Revision"`
	CreateTime  int64             `json:"CreateTime"`
	ModifyTime  int64             `json:"ModifyTime"`
}

type execution struct {
	ID                 string              `json:"ID"`
	Namespace          string              `json:"Namespace"`
	EvalID             string              `json:"EvalID"`
	Name               string              `json:"Name"`
	NodeID             string              `json:"NodeID"`
	JobID              string              `json:"JobID"`
	Job                *job                `json:"Job,omitempty"`
	JobVersion         uint64              `json:"JobVersion"`
	AllocatedResources *allocatedResources `json:"AllocatedResources"`
	DesiredState       executionState      `json:"DesiredState"`
	ComputeState       executionState      `json:"ComputeState"`
	PublishedResult    *specConfig         `json:"PublishedResult"`
	RunOutput          *runOutput          `json:"RunOutput"`
	PreviousExecution  string              `json:"PreviousExecution"`
	NextExecution      string              `json:"NextExecution"`
	FollowupEvalID     string              `json:"FollowupEvalID"`
	PartitionIndex     int                 `json:"PartitionIndex,omitempty"`
	Revision           int                 `json:"Revision"`
	CreateTime         int64               `json:"CreateTime"`
	ModifyTime         int64               `json:"ModifyTime"`
}
