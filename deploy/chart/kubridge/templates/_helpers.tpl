{{/* What everything is named. */}}
{{- define "kubridge.fullname" -}}
{{- if contains "kubridge" .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-kubridge" (.Release.Name | trunc 41 | trimSuffix "-") -}}
{{- end -}}
{{- end -}}

{{/* What APIServices name. */}}
{{- define "kubridge.service" -}}
{{- .Values.service.name | default (include "kubridge.fullname" .) -}}
{{- end -}}

{{- define "kubridge.selectorLabels" -}}
app.kubernetes.io/name: kubridge
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "kubridge.labels" -}}
{{ include "kubridge.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{/* The Secret of a serving certificate that others make; empty: Kubridge makes its own. */}}
{{- define "kubridge.certificateSecret" -}}
{{- with .Values.servingCertificate -}}
{{- if .secretName -}}
{{- .secretName -}}
{{- else if .certManager.enabled -}}
{{- printf "%s-tls" (include "kubridge.fullname" $) -}}
{{- end -}}
{{- end -}}
{{- end -}}
