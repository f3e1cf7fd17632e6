package metrics

import (
	"cmp"
	"math"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"
)

// family is a metric of each T, or with a label of its own one value of it: then
// several stand under one name.
type family[T any] struct {
	name      string
	kind      kind
	only      string // the role of the daemon that has it; "" both
	label, is string // the label of its own, and its value; "" none
	help      string // of the first under a name
	value     func(*T) float64
}

// kind is what Prometheus calls a metric's type.
type kind = dto.MetricType

const (
	gauge   = dto.MetricType_GAUGE
	counter = dto.MetricType_COUNTER
)

// unknown is a value that there is none of: Prometheus is told nothing rather
// than 0.
var unknown = math.NaN()

// positive is x, or unknown where 0 stands for that.
func positive(x float64) float64 {
	if x == 0 {
		return unknown
	}
	return x
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// names are all names of a daemon's metrics, each at its place.
type names struct{ list []*dto.MetricFamily }

// place returns where the name stands, which it has from now on.
func (n *names) place(name string, k kind, help string) int {
	for i, f := range n.list {
		if f.GetName() == name {
			return i
		}
	}
	n.list = append(n.list, &dto.MetricFamily{Name: &name, Help: &help, Type: &k})
	return len(n.list) - 1
}

// families are all, without a value yet.
func (n *names) families() []*dto.MetricFamily {
	list := make([]*dto.MetricFamily, len(n.list))
	for i, f := range n.list {
		list[i] = &dto.MetricFamily{Name: f.Name, Help: f.Help, Type: f.Type}
	}
	return list
}

// placed is a family with the place of its name.
type placed[T any] struct {
	family[T]
	at  int
	own *dto.LabelPair // nil: none
}

// place leaves out what is the other role's.
func place[T any](n *names, role string, families []family[T]) []placed[T] {
	var list []placed[T]
	for _, f := range families {
		if f.only != "" && f.only != role {
			continue
		}
		p := placed[T]{family: f, at: n.place(f.name, f.kind, f.help)}
		if f.label != "" {
			p.own = pair(f.label, f.is)
		}
		list = append(list, p)
	}
	return list
}

// samples are the values of one scrape.
type samples struct{ families []*dto.MetricFamily }

// add adds a value. The labels, in order, stay in use.
func (s *samples) add(at int, k kind, value float64, labels []*dto.LabelPair) {
	x := &struct { // one piece of memory
		metric  dto.Metric
		gauge   dto.Gauge
		counter dto.Counter
		value   float64
	}{value: value}
	x.metric.Label = labels
	if k == counter {
		x.counter.Value = &x.value
		x.metric.Counter = &x.counter
	} else {
		x.gauge.Value = &x.value
		x.metric.Gauge = &x.gauge
	}
	s.families[at].Metric = append(s.families[at].Metric, &x.metric)
}

// add adds what is known of x.
func add[T any](s *samples, list []placed[T], x *T, labels []*dto.LabelPair) {
	for i := range list {
		p := &list[i]
		v := p.value(x)
		if math.IsNaN(v) {
			continue
		}
		of := labels
		if p.own != nil {
			of = with(labels, p.own)
		}
		s.add(p.at, p.kind, v, of)
	}
}

func pair(name, value string) *dto.LabelPair {
	return &dto.LabelPair{Name: proto.String(name), Value: proto.String(valid(value))}
}

// valid makes a label's value of what a peer may have sent: one that is no UTF-8
// would end the whole scrape.
func valid(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

// with returns the labels and others, in order. The labels are left alone.
func with(labels []*dto.LabelPair, more ...*dto.LabelPair) []*dto.LabelPair {
	all := make([]*dto.LabelPair, 0, len(labels)+len(more))
	all = append(append(all, labels...), more...)
	slices.SortFunc(all, func(a, b *dto.LabelPair) int { return cmp.Compare(a.GetName(), b.GetName()) })
	return all
}
