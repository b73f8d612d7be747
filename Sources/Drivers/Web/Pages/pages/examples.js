// What a person may begin with.
export const example = `reach: [192.168.1.1, 192.168.1.2]   # hosts that normally answer, such as the router
services:
  - name: files
    addresses: [192.168.1.50/24]    # goes where the service goes
    run: systemd:smbd
    check: tcp:445
    mirrors: [samba]
mirrors:
  - name: samba
    paths: [/srv/files/, /var/lib/samba/]
    every: 10m                      # or on-change
`;
