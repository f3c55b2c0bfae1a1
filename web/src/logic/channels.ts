// A notification channel as a form: text fields and choices, and what of it is sent.
import type { NotificationChannel, NotificationTopic } from '../api/client'
import { idOf, num, seconds } from './format'

export type Kind = 'smtp' | 'webhook'
export type Security = 'SECURITY_STARTTLS' | 'SECURITY_TLS' | 'SECURITY_NONE'

export const TOPICS: { topic: NotificationTopic; label: string }[] = [
  { topic: 'NOTIFICATION_TOPIC_FAILURE', label: 'A job failed for good' },
  { topic: 'NOTIFICATION_TOPIC_RECOVERY', label: 'What was wrong is over' },
  { topic: 'NOTIFICATION_TOPIC_RPO_MISSED', label: 'A machine’s newest point is older than promised' },
  { topic: 'NOTIFICATION_TOPIC_AGENT_OFFLINE', label: 'A host’s agent is offline' },
  { topic: 'NOTIFICATION_TOPIC_REPOSITORY_NEARLY_FULL', label: 'A repository is nearly full' },
  { topic: 'NOTIFICATION_TOPIC_DAMAGE', label: 'A verification found damage' },
  { topic: 'NOTIFICATION_TOPIC_DIGEST', label: 'The digest' },
]

export interface ChannelForm {
  id: string
  description: string
  kind: Kind
  host: string
  port: string
  security: Security
  username: string
  from: string
  to: string
  url: string
  allowPlaintext: boolean
  secret: string
  certificateAuthority: string
  everything: boolean
  topics: NotificationTopic[]
  digestSchedule: string
  timeZone: string
  groupingMinutes: string
  messagesPerHour: string
}

export function formOf(channel: NotificationChannel | undefined, timeZone: string): ChannelForm {
  const webhook = channel?.webhook
  const smtp = channel?.smtp
  const security = smtp?.security
  const topics = channel?.topics ?? []
  return {
    id: idOf(channel?.name), description: channel?.description ?? '', kind: webhook ? 'webhook' : 'smtp',
    host: smtp?.host ?? '', port: smtp?.port ? String(smtp.port) : '', security: security && security !== 'SECURITY_UNSPECIFIED' ? security : 'SECURITY_STARTTLS',
    username: smtp?.username ?? '', from: smtp?.from ?? '', to: (smtp?.to ?? []).join('\n'),
    url: webhook?.url ?? '', allowPlaintext: webhook?.allowPlaintext ?? false,
    secret: webhook?.secret ?? smtp?.secret ?? '', certificateAuthority: webhook?.certificateAuthority ?? smtp?.certificateAuthority ?? '',
    everything: topics.length === 0, topics, digestSchedule: channel?.digestSchedule ?? '', timeZone: channel ? channel.timeZone ?? '' : timeZone,
    groupingMinutes: channel?.groupingWindow ? String((seconds(channel.groupingWindow) ?? 0) / 60) : '',
    messagesPerHour: num(channel?.messagesPerHour) > 0 ? String(channel?.messagesPerHour) : '',
  }
}

export function addressesOf(text: string): string[] {
  return text.split(/[\s,;]+/).filter((address) => address !== '')
}

/** What is wrong with it before the daemon is asked; "" when nothing is. */
export function formProblem(form: ChannelForm): string {
  if (!/^[a-z0-9][a-z0-9-]{0,62}$/.test(form.id)) return 'A name has 1 to 63 of a-z, 0-9 and -, and doesn’t begin with -.'
  if (form.kind === 'webhook') {
    if (!/^https?:\/\//.test(form.url)) return 'An address begins with https:// or http://.'
    if (form.secret === '') return 'Name the file with the key of the signature.'
  } else {
    if (form.host === '') return 'Name the mail server.'
    if (!form.from.includes('@')) return 'Give the sender’s address.'
    if (addressesOf(form.to).length === 0) return 'Give an address to send to.'
    if (form.username !== '' && form.secret === '') return 'Name the file with the password.'
  }
  return !form.everything && form.topics.length === 0 ? 'Choose at least one thing to tell of.' : ''
}

/** The whole channel; what isn't of its kind is left out. */
export function channelOf(form: ChannelForm, etag: string | undefined): NotificationChannel {
  const minutes = Number(form.groupingMinutes)
  return {
    description: form.description,
    ...(form.kind === 'smtp'
      ? {
          smtp: {
            host: form.host.trim(), port: Number(form.port) || 0, security: form.security, username: form.username, secret: form.username ? form.secret : '', from: form.from.trim(),
            to: addressesOf(form.to), certificateAuthority: form.certificateAuthority,
          },
        }
      : { webhook: { url: form.url.trim(), secret: form.secret, certificateAuthority: form.certificateAuthority, allowPlaintext: form.allowPlaintext } }),
    topics: form.everything ? [] : form.topics, digestSchedule: form.digestSchedule.trim(), timeZone: form.timeZone.trim(),
    ...(minutes > 0 ? { groupingWindow: `${Math.round(minutes * 60)}s` } : {}),
    messagesPerHour: Number(form.messagesPerHour) || 0,
    ...(etag ? { etag } : {}),
  }
}

/** "mail to a@example.org and 2 more", "POST to https://…". */
export function targetWords(channel: NotificationChannel): string {
  if (channel.webhook) return `POST to ${channel.webhook.url}`
  const to = channel.smtp?.to ?? []
  return `mail to ${to[0] ?? 'nobody'}${to.length > 1 ? ` and ${to.length - 1} more` : ''}`
}

export function topicWords(topics: NotificationTopic[] | undefined): string {
  if (!topics?.length) return 'everything'
  return topics.map((topic) => TOPICS.find((known) => known.topic === topic)?.label ?? topic).join('; ')
}
