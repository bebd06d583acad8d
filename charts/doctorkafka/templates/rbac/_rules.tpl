{{/* What the operator may do where it watches: in all namespaces (ClusterRole) or in some (Roles). */}}
{{- define "doctorkafka.rules" -}}
# Policies are read and watched. They belong to people: the operator neither creates, changes nor deletes any.
- apiGroups: [doctorkafka.dev]
  resources: [kafkahealthpolicies]
  verbs: [get, list, watch]
# What it found goes into their status, replaced as a whole and only in the version that was read (update, not patch).
- apiGroups: [doctorkafka.dev]
  resources: [kafkahealthpolicies/status]
  verbs: [update]
# Treatments are shown as objects, which are made, and removed when they are old or are not what the doctor made. They are
# never changed (no update, no patch), and the operator must not be able to approve any: kafkareassignments/approval is
# not for it.
- apiGroups: [doctorkafka.dev]
  resources: [kafkareassignments]
  verbs: [get, list, watch, create, delete]
# How far they are.
- apiGroups: [doctorkafka.dev]
  resources: [kafkareassignments/status]
  verbs: [update]
# Changes of a broker's state, and refusals, as Events. Each is created once and never changed.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- if .Values.rbac.platformFacts }}
# The brokers' pods: phase, restarts, OOMKilled, eviction, node. Only where a policy sets spec.brokers.podSelector, as
# with all that follows.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
# The brokers' volume claims: whether one is lost or gone.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [list, watch]
# Whether a rolling update of the brokers is under way.
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [list, watch]
# The same under Strimzi.
- apiGroups: [core.strimzi.io]
  resources: [strimzipodsets]
  verbs: [list, watch]
# Whether Strimzi's reconciliation is paused, and whether Cruise Control is there and rebalancing.
- apiGroups: [kafka.strimzi.io]
  resources: [kafkas, kafkarebalances]
  verbs: [list, watch]
# Koperator's rolling upgrades.
- apiGroups: [kafka.banzaicloud.io]
  resources: [kafkaclusters]
  verbs: [list, watch]
{{- end }}
{{- end -}}
