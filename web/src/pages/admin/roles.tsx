import { Button, Checkbox, Group, Stack, Table, Text, TextInput } from '@mantine/core'
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { useState } from 'react'
import { permissionsQuery, rolesQuery, usersQuery } from '../../api/admin_queries'
import { api, body, type Role } from '../../api/client'
import { identityQuery } from '../../api/queries'
import { count, idOf } from '../../logic/format'
import { byKind } from '../../logic/grants'
import { canEverywhere } from '../../logic/permissions'
import { Confirm, Dialog, Loaded, Page, Problem, Tag } from '../../ui/parts'

export default function Roles() {
  const roles = useQuery(rolesQuery)
  const identity = useQuery(identityQuery)
  const manage = canEverywhere(identity.data, 'users.manage')
  const [edits, setEdits] = useState<Role | undefined>()
  return (
    <Page title="Roles" actions={manage && <Button onClick={() => setEdits({ permissions: [] })}>Make a role</Button>}>
      <Loaded query={roles} rows={4}>
        {(all) => (
          <div className="scroll">
            <Table>
              <Table.Thead><Table.Tr><Table.Th>Role</Table.Th><Table.Th>What it is for</Table.Th><Table.Th>Permissions</Table.Th><Table.Th>Actions</Table.Th></Table.Tr></Table.Thead>
              <Table.Tbody>
                {all.map((role) => (
                  <Table.Tr key={role.name}>
                    <Table.Td>{idOf(role.name)} {role.builtIn && <Tag tone="idle">Built in</Tag>}</Table.Td>
                    <Table.Td>{role.description}</Table.Td>
                    <Table.Td className="wrap">{(role.permissions ?? []).map((permission) => (permission === '*' ? 'everything' : permission)).join(', ')}</Table.Td>
                    <Table.Td>{manage && !role.builtIn && <RoleActions role={role} edit={() => setEdits(role)} />}</Table.Td>
                  </Table.Tr>
                ))}
              </Table.Tbody>
            </Table>
          </div>
        )}
      </Loaded>
      {edits && <RoleDialog role={edits} close={() => setEdits(undefined)} />}
    </Page>
  )
}

function RoleActions({ role, edit }: { role: Role; edit: () => void }) {
  const queries = useQueryClient()
  const identity = useQuery(identityQuery)
  const users = useQuery({ ...usersQuery, enabled: canEverywhere(identity.data, 'users.view') })
  const [asks, setAsks] = useState(false)
  const remove = useMutation({
    mutationFn: () => body(api.DELETE('/v1/roles/{role}', { params: { path: { role: idOf(role.name) }, query: { etag: role.etag } } })),
    onSuccess: () => { setAsks(false); void queries.invalidateQueries({ queryKey: ['roles'] }) },
  })
  const holders = (users.data ?? []).filter((user) => (user.grants ?? []).some((grant) => grant.role === role.name)).length
  return (
    <Group gap={4} wrap="nowrap">
      <Button size="compact-sm" variant="default" onClick={edit} aria-label={`Change ${idOf(role.name)}`}>Change</Button>
      <Button size="compact-sm" variant="default" onClick={() => setAsks(true)} aria-label={`Delete ${idOf(role.name)}`}>Delete</Button>
      <Confirm opened={asks} onClose={() => setAsks(false)} title={`Delete the role ${idOf(role.name)}?`} action="Delete the role" busy={remove.isPending} error={remove.error} onConfirm={() => remove.mutate()}>
        <Text>{holders === 0 ? 'No user has it.' : `${count(holders, 'user has', 'users have')} it: the daemon refuses to delete it until their grants are changed.`} Its {count((role.permissions ?? []).length, 'permission')} have to be chosen again for a new one.</Text>
      </Confirm>
    </Group>
  )
}

function RoleDialog({ role, close }: { role: Role; close: () => void }) {
  const queries = useQueryClient()
  const permissions = useQuery(permissionsQuery)
  const isNew = role.name === undefined
  const [name, setName] = useState(idOf(role.name))
  const [description, setDescription] = useState(role.description ?? '')
  const [held, setHeld] = useState<string[]>(role.permissions ?? [])
  const save = useMutation({
    mutationFn: () => isNew
      ? body(api.POST('/v1/roles', { body: { name: `roles/${name}`, description, permissions: held } }))
      : body(api.PATCH('/v1/roles/{role}', { params: { path: { role: name }, query: { updateMask: 'description,permissions' } }, body: { description, permissions: held, etag: role.etag } })),
    onSuccess: () => { close(); void queries.invalidateQueries({ queryKey: ['roles'] }); void queries.invalidateQueries({ queryKey: ['identity'] }) },
  })
  const turn = (id: string, on: boolean) => setHeld(on ? [...held, id] : held.filter((known) => known !== id))
  return (
    <Dialog opened onClose={close} title={isNew ? 'Make a role' : `Change the role ${name}`}>
      <Stack>
        {isNew && <TextInput label="Name" description="a-z, 0-9, - and dots; it can’t be changed later" value={name} onChange={(event) => setName(event.currentTarget.value)} data-autofocus />}
        <TextInput label="What it is for" value={description} onChange={(event) => setDescription(event.currentTarget.value)} />
        <Loaded query={permissions}>
          {(all) => (
            <div className="permissions">
              {byKind(all).map(([kind, ofKind]) => {
                const every = held.includes(`${kind}.*`) || held.includes('*')
                return (
                  <fieldset key={kind}>
                    <legend>{kind}</legend>
                    <Stack gap={6}>
                      {ofKind.length > 1 && <Checkbox size="xs" label="all of it, also what comes with later versions" checked={every} disabled={held.includes('*')} onChange={(event) => turn(`${kind}.*`, event.currentTarget.checked)} />}
                      {ofKind.map((permission) => (
                        <Checkbox key={permission.id} size="xs" label={permission.id} description={permission.description} checked={every || held.includes(permission.id ?? '')} disabled={every}
                          onChange={(event) => turn(permission.id ?? '', event.currentTarget.checked)} />
                      ))}
                    </Stack>
                  </fieldset>
                )
              })}
            </div>
          )}
        </Loaded>
        {save.error ? <Problem error={save.error} /> : null}
        <Group justify="flex-end"><Button loading={save.isPending} disabled={name === '' || held.length === 0} onClick={() => save.mutate()}>{isNew ? 'Make it' : 'Save'}</Button></Group>
      </Stack>
    </Dialog>
  )
}
