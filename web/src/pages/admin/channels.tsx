// Who is told when something goes wrong, and what became of the messages.
import { Button, Checkbox, Group, NativeSelect, Stack, Table, Text, Textarea, TextInput } from '@mantine/core'
import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { useState } from 'react'
import { channelsQuery, messageQuery, messagesQuery } from '../../api/admin_queries'
import { api, body, type Notification, type NotificationChannel } from '../../api/client'
import { identityQuery } from '../../api/queries'
import { channelOf, formOf, formProblem, targetWords, TOPICS, topicWords, type ChannelForm, type Kind, type Security } from '../../logic/channels'
import { count, enumWords, idOf, num } from '../../logic/format'
import { canEverywhere } from '../../logic/permissions'
import { waitAdvice } from '../../ui/job_parts'
import { Confirm, Dialog, Empty, Loaded, Notice, Page, Panel, Problem, Tag, When } from '../../ui/parts'

export default function Channels() {
  const channels = useQuery(channelsQuery)
  const identity = useQuery(identityQuery)
  const manage = canEverywhere(identity.data, 'notifications.manage')
  const [edits, setEdits] = useState<NotificationChannel | 'new' | undefined>()
  return (
    <Page title="Notifications" actions={manage && <Button onClick={() => setEdits('new')}>Add a channel</Button>}>
      <Panel title="Channels">
        <Loaded query={channels}>
          {(all) => all.length === 0 ? <Empty>Nobody is told when a backup fails. {manage ? 'Add a channel: a mail address, or a program that takes a POST.' : 'An administrator can add a channel.'}</Empty> : (
            <div className="scroll">
              <Table>
                <Table.Thead><Table.Tr><Table.Th>Channel</Table.Th><Table.Th>How</Table.Th><Table.Th>Is told of</Table.Th><Table.Th>Digest</Table.Th><Table.Th>State</Table.Th><Table.Th>Actions</Table.Th></Table.Tr></Table.Thead>
                <Table.Tbody>{all.map((channel) => <ChannelRow key={channel.name} channel={channel} manage={manage} edit={() => setEdits(channel)} />)}</Table.Tbody>
              </Table>
            </div>
          )}
        </Loaded>
      </Panel>
      <History channels={channels.data ?? []} />
      {edits && <ChannelDialog channel={edits === 'new' ? undefined : edits} close={() => setEdits(undefined)} />}
    </Page>
  )
}

function ChannelRow({ channel, manage, edit }: { channel: NotificationChannel; manage: boolean; edit: () => void }) {
  const id = idOf(channel.name)
  const path = { path: { notificationChannel: id } }
  const queries = useQueryClient()
  const [asks, setAsks] = useState<'' | 'delete' | 'test'>('')
  const changed = () => { setAsks(''); void queries.invalidateQueries({ queryKey: ['channels'] }) }
  const pause = useMutation({
    mutationFn: (paused: boolean) => body(api.PATCH('/v1/notificationChannels/{notificationChannel}', { params: { ...path, query: { updateMask: 'paused' } }, body: { paused } })),
    onSuccess: changed,
  })
  const remove = useMutation({
    mutationFn: () => body(api.DELETE('/v1/notificationChannels/{notificationChannel}', { params: { ...path, query: { etag: channel.etag } } })), onSuccess: changed,
  })
  const waiting = num(channel.waitingCount)
  return (
    <Table.Tr>
      <Table.Td>{id}<Text size="xs" className="dim">{channel.description}</Text></Table.Td>
      <Table.Td className="wrap">{targetWords(channel)}</Table.Td>
      <Table.Td>{topicWords(channel.topics)}</Table.Td>
      <Table.Td>{channel.digestSchedule || <span className="dim">never</span>}{channel.digestSchedule && <Text size="xs" className="dim">{channel.timeZone || 'UTC'}</Text>}</Table.Td>
      <Table.Td>{channel.paused ? <Tag tone="warn">Paused</Tag> : <Tag tone="good">Active</Tag>}{waiting > 0 && <Text size="xs">{count(waiting, 'notice waits', 'notices wait')}</Text>}</Table.Td>
      <Table.Td>
        {manage && (
          <Group gap={4} wrap="nowrap">
            <Button size="compact-sm" onClick={() => setAsks('test')} aria-label={`Test ${id}`}>Test</Button>
            <Button size="compact-sm" variant="default" onClick={edit} aria-label={`Change ${id}`}>Change</Button>
            <Button size="compact-sm" variant="default" loading={pause.isPending} onClick={() => pause.mutate(!channel.paused)} aria-label={`${channel.paused ? 'Resume' : 'Pause'} ${id}`}>{channel.paused ? 'Resume' : 'Pause'}</Button>
            <Button size="compact-sm" variant="default" onClick={() => setAsks('delete')} aria-label={`Delete ${id}`}>Delete</Button>
          </Group>
        )}
        {pause.error ? <Problem error={pause.error} /> : null}
        {asks === 'test' && <TestDialog id={id} close={() => setAsks('')} />}
        <Confirm opened={asks === 'delete'} onClose={() => setAsks('')} title={`Delete the channel ${id}?`} action="Delete the channel" busy={remove.isPending} error={remove.error} onConfirm={() => remove.mutate()}>
          <Text>It is told nothing any more ({targetWords(channel)}).{waiting > 0 && ` ${count(waiting, 'notice', 'notices')} that wait for the next message are lost.`} Its history of messages is forgotten.</Text>
        </Confirm>
      </Table.Td>
    </Table.Tr>
  )
}

/** Sends when asked, and tells what the server said of it. */
function TestDialog({ id, close }: { id: string; close: () => void }) {
  const test = useMutation({ mutationFn: () => body<Notification>(api.POST('/v1/notificationChannels/{notificationChannel}:test', { params: { path: { notificationChannel: id } }, body: {} })) })
  const message = useQuery(messageQuery(test.data?.name ?? ''))
  const said = message.data
  return (
    <Dialog opened onClose={close} title={`Test ${id}`}>
      <Stack>
        <Text size="sm">A test message is sent at once, also when the channel is paused.</Text>
        {test.error ? <Problem error={test.error} /> : null}
        {test.data && (!said || said.state === 'STATE_QUEUED') && <Text role="status">{num(said?.attempts) > 0 ? `Tried ${count(num(said?.attempts), 'time')}; it is tried again.` : 'On its way…'}</Text>}
        {said?.state === 'STATE_DELIVERED' && <Notice tone="good" title="The channel’s server has taken it" role="status">Look whether it has arrived.</Notice>}
        {said?.errorReason && said.state !== 'STATE_DELIVERED' && (
          <Notice tone="bad" title={said.state === 'STATE_GIVEN_UP' ? 'It was not taken' : 'The last try failed'} role="alert">{said.errorMessage} {waitAdvice(said.errorReason)}</Notice>
        )}
        <Group justify="flex-end">
          <Button variant="default" onClick={close}>Close</Button>
          <Button loading={test.isPending} onClick={() => test.mutate()} data-autofocus>Send a test message</Button>
        </Group>
      </Stack>
    </Dialog>
  )
}

function History({ channels }: { channels: NotificationChannel[] }) {
  const [channel, setChannel] = useState('-')
  const query = useInfiniteQuery(messagesQuery(channel))
  return (
    <Panel title="Messages" aside={(
      <NativeSelect size="xs" aria-label="Of which channel" value={channel} onChange={(event) => setChannel(event.currentTarget.value)}
        data={[{ value: '-', label: 'All channels' }, ...channels.map((known) => ({ value: idOf(known.name), label: idOf(known.name) }))]} />
    )}>
      <Loaded query={query}>
        {(data) => {
          const messages = data.pages.flatMap((page) => page.notifications ?? [])
          if (messages.length === 0) return <Empty>None in the last 30 days.</Empty>
          return (
            <>
              <div className="scroll">
                <Table>
                  <Table.Thead><Table.Tr><Table.Th>Made</Table.Th><Table.Th>Channel</Table.Th><Table.Th>What</Table.Th><Table.Th>Kind</Table.Th><Table.Th>State</Table.Th></Table.Tr></Table.Thead>
                  <Table.Tbody>{messages.map((message) => <MessageRow key={message.name} message={message} />)}</Table.Tbody>
                </Table>
              </div>
              {query.hasNextPage && <Button mt="sm" size="compact-sm" variant="default" loading={query.isFetchingNextPage} onClick={() => void query.fetchNextPage()}>Show older ones</Button>}
            </>
          )
        }}
      </Loaded>
    </Panel>
  )
}

function MessageRow({ message }: { message: Notification }) {
  return (
    <Table.Tr>
      <Table.Td><When value={message.createTime} exact /></Table.Td>
      <Table.Td>{message.name?.split('/')[1]}</Table.Td>
      <Table.Td className="wrap">{message.title}</Table.Td>
      <Table.Td>{enumWords(message.kind, 'KIND_')}</Table.Td>
      <Table.Td>
        {message.state === 'STATE_DELIVERED' ? <Tag tone="good">Taken</Tag> : message.state === 'STATE_GIVEN_UP' ? <Tag tone="bad">Given up</Tag> : <Tag tone="busy">Waits</Tag>}
        {message.state !== 'STATE_DELIVERED' && message.errorReason && <Text size="xs" className="wrap">{message.errorMessage} {waitAdvice(message.errorReason)}</Text>}
        {message.nextAttemptTime && message.state === 'STATE_QUEUED' && <Text size="xs">tried {count(num(message.attempts), 'time')}, again <When value={message.nextAttemptTime} /></Text>}
      </Table.Td>
    </Table.Tr>
  )
}

export function ChannelDialog({ channel, close }: { channel: NotificationChannel | undefined; close: () => void }) {
  const queries = useQueryClient()
  const [form, setForm] = useState(() => formOf(channel, Intl.DateTimeFormat().resolvedOptions().timeZone))
  const set = (part: Partial<ChannelForm>) => setForm((before) => ({ ...before, ...part }))
  const save = useMutation({
    mutationFn: () => channel
      ? body(api.PATCH('/v1/notificationChannels/{notificationChannel}', { params: { path: { notificationChannel: form.id } }, body: { ...channelOf(form, channel.etag), paused: channel.paused } }))
      : body(api.POST('/v1/notificationChannels', { params: { query: { notificationChannelId: form.id } }, body: channelOf(form, undefined) })),
    onSuccess: () => { close(); void queries.invalidateQueries({ queryKey: ['channels'] }) },
  })
  const wrong = formProblem(form)
  return (
    <Dialog opened onClose={close} title={channel ? `Change the channel ${form.id}` : 'Add a channel'}>
      <Stack>
        {!channel && <TextInput label="Name" description="1 to 63 of a-z, 0-9 and -" value={form.id} onChange={(event) => set({ id: event.currentTarget.value })} data-autofocus />}
        <TextInput label="Description" value={form.description} onChange={(event) => set({ description: event.currentTarget.value })} />
        <NativeSelect label="How messages are sent" value={form.kind} onChange={(event) => set({ kind: event.currentTarget.value as Kind })} data={[{ value: 'smtp', label: 'As mail' }, { value: 'webhook', label: 'To a program: a signed POST of JSON' }]} />
        {form.kind === 'smtp' ? <SmtpFields form={form} set={set} /> : <WebhookFields form={form} set={set} />}
        <TextInput label="File with the certificates to trust" description="In the daemon’s folder of secrets; empty: those that the machine trusts" value={form.certificateAuthority} onChange={(event) => set({ certificateAuthority: event.currentTarget.value })} />
        <fieldset className="plain">
          <legend>Is told of</legend>
          <Stack gap={6}>
            <Checkbox label="Everything" checked={form.everything} onChange={(event) => set({ everything: event.currentTarget.checked })} />
            {!form.everything && TOPICS.map(({ topic, label }) => (
              <Checkbox key={topic} label={label} checked={form.topics.includes(topic)}
                onChange={(event) => set({ topics: event.currentTarget.checked ? [...form.topics, topic] : form.topics.filter((known) => known !== topic) })} />
            ))}
          </Stack>
        </fieldset>
        <Group grow align="flex-start">
          <TextInput label="Digest" description="Such as daily at 07:00; empty: never" value={form.digestSchedule} onChange={(event) => set({ digestSchedule: event.currentTarget.value })} />
          <TextInput label="Time zone" description="Of the digest and of times in messages; empty: UTC" value={form.timeZone} onChange={(event) => set({ timeZone: event.currentTarget.value })} />
        </Group>
        <Group grow align="flex-start">
          <TextInput label="Minutes gathered into one message" description="Empty: 1" inputMode="decimal" value={form.groupingMinutes} onChange={(event) => set({ groupingMinutes: event.currentTarget.value })} />
          <TextInput label="Messages an hour" description="Empty: 12; more is held back and told together" inputMode="numeric" value={form.messagesPerHour} onChange={(event) => set({ messagesPerHour: event.currentTarget.value })} />
        </Group>
        {wrong && <Text size="sm" role="status">{wrong}</Text>}
        {save.error ? <Problem error={save.error} /> : null}
        <Group justify="flex-end"><Button loading={save.isPending} disabled={wrong !== ''} onClick={() => save.mutate()}>{channel ? 'Save' : 'Add'}</Button></Group>
      </Stack>
    </Dialog>
  )
}

type Fields = { form: ChannelForm; set: (part: Partial<ChannelForm>) => void }

function SmtpFields({ form, set }: Fields) {
  return (
    <>
      <Group grow align="flex-start">
        <TextInput label="Mail server" value={form.host} onChange={(event) => set({ host: event.currentTarget.value })} />
        <TextInput label="Port" description="Empty: the usual one" inputMode="numeric" value={form.port} onChange={(event) => set({ port: event.currentTarget.value })} />
      </Group>
      <NativeSelect label="Protection of the connection" value={form.security} onChange={(event) => set({ security: event.currentTarget.value as Security })}
        data={[{ value: 'SECURITY_STARTTLS', label: 'STARTTLS' }, { value: 'SECURITY_TLS', label: 'TLS from the first byte' }, { value: 'SECURITY_NONE', label: 'None' }]} />
      {form.security === 'SECURITY_NONE' && <Notice tone="warn">Everybody on the way can read and change the messages. No password goes over such a connection.</Notice>}
      <Group grow align="flex-start">
        <TextInput label="User at the mail server" description="Empty: no authentication" value={form.username} onChange={(event) => set({ username: event.currentTarget.value })} />
        {form.username !== '' && <TextInput label="File with his password" description="Its name in the daemon’s folder of secrets" value={form.secret} onChange={(event) => set({ secret: event.currentTarget.value })} />}
      </Group>
      <TextInput label="Sender" placeholder="umbra@example.org" value={form.from} onChange={(event) => set({ from: event.currentTarget.value })} />
      <Textarea label="To" description="Addresses, one a line, at most 50" autosize={false} rows={2} value={form.to} onChange={(event) => set({ to: event.currentTarget.value })} />
    </>
  )
}

function WebhookFields({ form, set }: Fields) {
  return (
    <>
      <TextInput label="Address" placeholder="https://…" value={form.url} onChange={(event) => set({ url: event.currentTarget.value })} />
      {form.url.startsWith('http://') && <Checkbox label="Without TLS: everybody on the way may read it" checked={form.allowPlaintext} onChange={(event) => set({ allowPlaintext: event.currentTarget.checked })} />}
      <TextInput label="File with the key of the signature" description="Its name in the daemon’s folder of secrets" value={form.secret} onChange={(event) => set({ secret: event.currentTarget.value })} />
    </>
  )
}
