{{- define "revocation-hub.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 53 characters, so that what is put behind still makes a name of a Service or a Job. */}}
{{- define "revocation-hub.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 53 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What never changes in the life of a release, because a selector cannot. */}}
{{- define "revocation-hub.selector" -}}
app.kubernetes.io/name: {{ include "revocation-hub.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: hub
{{- end -}}

{{- define "revocation-hub.commonLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "revocation-hub.labels" -}}
{{ include "revocation-hub.selector" . }}
{{ include "revocation-hub.commonLabels" . }}
{{- end -}}

{{/* Labels of the Job and the test, which no selector of the hub's may hit. Takes the root and the component. */}}
{{- define "revocation-hub.sideSelector" -}}
app.kubernetes.io/name: {{ include "revocation-hub.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "revocation-hub.sideLabels" -}}
{{ include "revocation-hub.sideSelector" . }}
{{ include "revocation-hub.commonLabels" .root }}
{{- end -}}

{{- define "revocation-hub.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest | quote -}}
{{- else -}}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) | quote -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "revocation-hub.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "revocation-hub.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* The fewest pods there will be. */}}
{{- define "revocation-hub.pods" -}}
{{- if .Values.autoscaling.enabled }}{{ .Values.autoscaling.minReplicas }}{{ else }}{{ .Values.replicas }}{{ end -}}
{{- end -}}

{{/* A duration of the hub's configuration in milliseconds: whole seconds, or text such as "1h 30m". */}}
{{- define "revocation-hub.milliseconds" -}}
{{- $units := dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000 "d" 86400000 -}}
{{- $text := . | toString -}}
{{- if regexMatch "^[0-9]+$" $text -}}
{{- mul (int64 $text) 1000 -}}
{{- else if regexMatch "^([0-9]+ *(ms|s|m|h|d) *)+$" $text -}}
{{- $sum := 0 -}}
{{- range regexFindAll "[0-9]+ *(ms|s|m|h|d)" $text -1 -}}
{{- $sum = add $sum (mul (int64 (regexFind "[0-9]+" .)) (get $units (regexFind "[a-z]+" .))) -}}
{{- end -}}
{{- $sum -}}
{{- else -}}
{{- fail (printf "config: the chart computes with the duration %q, so write it with ms, s, m, h or d" $text) -}}
{{- end -}}
{{- end -}}

{{/* The same in seconds, rounded up. */}}
{{- define "revocation-hub.seconds" -}}
{{- div (add (int64 (include "revocation-hub.milliseconds" .)) 999) 1000 -}}
{{- end -}}

{{/* The shortest terminationGracePeriodSeconds with which a hub ends by itself even when its database does not answer: the sleep,
     shutdown.grace, then the 6 s that sources and outlets have for their last words (LINKS_GRACE), then three times
     store.timeout: for a commit that is under way, one that waited for it, and the end of the connections. */}}
{{- define "revocation-hub.leastGrace" -}}
{{- $store := int64 (include "revocation-hub.seconds" (dig "store" "timeout" "5s" .Values.config)) -}}
{{- add .Values.preStopSleepSeconds (int64 (include "revocation-hub.seconds" .Values.config.shutdown.grace)) 6 (mul 3 $store) -}}
{{- end -}}

{{- define "revocation-hub.grace" -}}
{{- if kindIs "invalid" .Values.terminationGracePeriodSeconds -}}
{{- add (int64 (include "revocation-hub.leastGrace" .)) 5 -}}
{{- else -}}
{{- int64 .Values.terminationGracePeriodSeconds -}}
{{- end -}}
{{- end -}}

{{/* The configuration file. */}}
{{- define "revocation-hub.config" -}}
{{- $own := dict "listen" (list (printf "%s:%d" .Values.listenAddress (int64 .Values.containerPort))) -}}
{{- $_ := set $own "migrate_on_start" (eq .Values.migrations.mode "start") -}}
{{- if eq .Values.database.kind "sqlite" -}}
{{- $_ := set $own "database_url" "sqlite:///var/lib/revocation-hub/revocation-hub.db" -}}
{{- else -}}
{{- $_ := set $own "database_url_file" (printf "/run/secrets/revocation-hub-database/%s" .Values.database.postgres.key) -}}
{{- end -}}
{{- with .Values.tls.existingSecret -}}
{{- $tls := dict "certificate_file" "/run/secrets/revocation-hub-tls/tls.crt" "key_file" "/run/secrets/revocation-hub-tls/tls.key" -}}
{{- with $.Values.tls.clients -}}
{{- if .existingSecret -}}
{{- $_ := set $tls "client_ca_file" (printf "/run/secrets/revocation-hub-client-ca/%s" .key) -}}
{{- $_ := set $tls "client_certificates" .certificates -}}
{{- end -}}
{{- end -}}
{{- $_ := set $own "tls" $tls -}}
{{- end -}}
{{- if .Values.admin.port -}}
{{- $admin := dict "listen" (list (printf "%s:%d" .Values.listenAddress (int64 .Values.admin.port))) -}}
{{- if .Values.tls.existingSecret -}}{{- $_ := set $admin "tls" false -}}{{- end -}}
{{- $_ := set $own "admin" $admin -}}
{{- end -}}
{{- include "revocation-hub.toml" (merge $own .Values.config) | trim }}
{{ end -}}

{{/* The port that probes and Prometheus ask, by name. */}}
{{- define "revocation-hub.adminPort" -}}
{{- if .Values.admin.port }}admin{{ else }}http{{ end -}}
{{- end -}}

{{/* How probes speak to that port. */}}
{{- define "revocation-hub.adminScheme" -}}
{{- if and .Values.tls.existingSecret (not .Values.admin.port) }}HTTPS{{ else }}HTTP{{ end -}}
{{- end -}}

{{/* What every container of ours may do: nothing. */}}
{{- define "revocation-hub.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "revocation-hub.podSecurity" -}}
runAsNonRoot: true
{{- if not (kindIs "invalid" .Values.runAsUser) }}
runAsUser: {{ int64 .Values.runAsUser }}
runAsGroup: {{ int64 .Values.runAsUser }}
{{- end }}
{{- if not (kindIs "invalid" .Values.fsGroup) }}
fsGroup: {{ int64 .Values.fsGroup }}
fsGroupChangePolicy: OnRootMismatch
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "revocation-hub.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The Secret and key with which migrations are applied, as one map. */}}
{{- define "revocation-hub.migrationSecret" -}}
{{- if .Values.migrations.existingSecret -}}
{{- dict "name" .Values.migrations.existingSecret "key" .Values.migrations.key | toJson -}}
{{- else -}}
{{- dict "name" .Values.database.postgres.existingSecret "key" .Values.database.postgres.key | toJson -}}
{{- end -}}
{{- end -}}
