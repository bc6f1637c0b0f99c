{{/* A value as TOML. toToml of Helm writes whole numbers as floats, which the hub rightly refuses. */}}
{{- define "revocation-hub.toml.value" -}}
{{- if kindIs "map" . -}}
{{- $members := list -}}
{{- range $key, $value := . -}}
{{- if not (kindIs "invalid" $value) -}}
{{- $members = append $members (printf "%s = %s" (include "revocation-hub.toml.key" $key) (include "revocation-hub.toml.value" $value)) -}}
{{- end -}}
{{- end -}}
{ {{ join ", " $members }} }
{{- else if kindIs "slice" . -}}
{{- $items := list -}}
{{- range . -}}{{- $items = append $items (include "revocation-hub.toml.value" .) -}}{{- end -}}
[{{ join ", " $items }}]
{{- else if kindIs "string" . -}}
{{ toJson . }}
{{- else if kindIs "bool" . -}}
{{ . }}
{{- else -}}
{{ int64 . }}
{{- end -}}
{{- end -}}

{{- define "revocation-hub.toml.key" -}}
{{- if regexMatch "^[A-Za-z0-9_-]+$" . }}{{ . }}{{ else }}{{ toJson . }}{{ end -}}
{{- end -}}

{{- define "revocation-hub.toml.members" -}}
{{- range $key, $value := . -}}
{{- if not (kindIs "invalid" $value) }}
{{ include "revocation-hub.toml.key" $key }} = {{ include "revocation-hub.toml.value" $value }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A whole file: settings first, then tables, then lists of tables, because what follows a table belongs to it. */}}
{{- define "revocation-hub.toml" -}}
{{- $plain := dict -}}
{{- $tables := dict -}}
{{- $lists := dict -}}
{{- range $key, $value := . -}}
{{- if kindIs "map" $value -}}
{{- $_ := set $tables $key $value -}}
{{- else if and (kindIs "slice" $value) $value (kindIs "map" (first $value)) -}}
{{- $_ := set $lists $key $value -}}
{{- else -}}
{{- $_ := set $plain $key $value -}}
{{- end -}}
{{- end -}}
{{- include "revocation-hub.toml.members" $plain }}
{{- range $key, $value := $tables }}

[{{ $key }}]
{{- include "revocation-hub.toml.members" $value }}
{{- end }}
{{- range $key, $items := $lists }}
{{- range $items }}

[[{{ $key }}]]
{{- include "revocation-hub.toml.members" . }}
{{- end }}
{{- end }}
{{- end -}}
