{{/* Name of everything of the release. */}}
{{- define "doctorkafka.fullname" -}}
{{- if contains "doctorkafka" .Release.Name -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-doctorkafka" .Release.Name | trunc 40 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{/* Labels by which Services and policies select the operator's pods. They never change. */}}
{{- define "doctorkafka.selector" -}}
app.kubernetes.io/name: doctorkafka
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{/* Labels of every object; takes (dict "context" $ "component" NAME). */}}
{{- define "doctorkafka.labels" -}}
app.kubernetes.io/name: doctorkafka
app.kubernetes.io/instance: {{ .context.Release.Name }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/version: {{ .context.Chart.AppVersion | quote }}
{{- end -}}

{{/* Labels that are asked for in values, but none of those above. */}}
{{- define "doctorkafka.moreLabels" -}}
{{- with omit . "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/component" "app.kubernetes.io/version" }}
{{- toYaml . }}
{{- end }}
{{- end -}}

{{- define "doctorkafka.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (printf "%s-operator" (include "doctorkafka.fullname" .)) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end -}}
{{- end -}}

{{/* The operator's service account as the only subject of a binding. */}}
{{- define "doctorkafka.subjects" -}}
subjects:
  - kind: ServiceAccount
    name: {{ include "doctorkafka.serviceAccount" . }}
    namespace: {{ .Release.Namespace }}
{{- end -}}

{{/* An image's full name; takes (dict "image" VALUES "tag" DEFAULT). */}}
{{- define "doctorkafka.image" -}}
{{- if .image.registry }}{{ .image.registry }}/{{ end }}{{ .image.repository }}
{{- if .image.digest }}@{{ .image.digest }}{{ else }}:{{ .image.tag | default .tag }}{{ end -}}
{{- end -}}

{{/* What Pod Security `restricted` asks of a container, and more. */}}
{{- define "doctorkafka.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* What Pod Security `restricted` asks of a pod. 65532 is the user `nonroot` of distroless images. OpenShift gives each
namespace users of its own, and takes no pod that names another. */}}
{{- define "doctorkafka.podSecurity" -}}
runAsNonRoot: true
{{- if not (.Capabilities.APIVersions.Has "security.openshift.io/v1") }}
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}
