module mesh-governor.github.io/lab/definitions

go 1.26

require (
	github.com/cilium/cilium v1.20.2
	knative.dev/serving v0.51.0
)
