import Importers
import Primitives
import Services
import Testing
import YAML

#if canImport(Glibc)
    import Glibc
#endif

/// BRAMBLE_GOLDEN_UPDATE=1 writes the golden files anew; read the difference.
@Suite("old setups come along")
struct ImportersTests {
    static let directory = #filePath.split(separator: "/").dropLast().map { "/" + $0 }.joined() + "/Golden"

    private func read(_ path: String) -> String? {
        guard let file = fopen(path, "r") else { return nil }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 1 << 16)
        return String(decoding: bytes[..<fread(&bytes, 1, bytes.count, file)], as: UTF8.self)
    }
    private func compare(_ imported: Imported, _ name: String) throws {
        let path = "\(Self.directory)/\(name).yaml"
        if getenv("BRAMBLE_GOLDEN_UPDATE") != nil {
            let file = try #require(fopen(path, "w"))
            fputs(imported.text, file)
            fclose(file)
        }
        #expect(imported.text == read(path), "\(name)")
        // Whatever it says, apply takes it, and takes it for the same.
        let document = try YAML.decode(ApplyDocument.self, from: imported.text, name: name)
        #expect(document.applied(to: DesiredState(), prune: true) == imported.state.canonical)
        for remark in imported.allRemarks { #expect(!remark.isEmpty) }
    }

    static let clusterd = [
        OldFile(
            path: "serv1.conf",
            text: """
                # config for serv1 main interface & address
                MAIN_IPADDR=192.168.1.1
                MAIN_INTERFACE=eth0
                MAIN_MACADDR=00:10:4B:63:1C:08
                # heartbeat
                HEARTBEAT_IPADDR=192.168.111.1
                HEARTBEAT_INTERFACE=eth1
                REDUNDANT_INTERFACE=eth2
                """),
        OldFile(
            path: "serv2.conf",
            text: "MAIN_IPADDR=\"192.168.1.2\"\nMAIN_INTERFACE=eth0\nHEARTBEAT_INTERFACE=eth1\nPAGER_NUMBER=5551234\n"),
        OldFile(path: "reachlist", text: "192.168.1.254\n192.168.1.20 192.168.1.21\nprinter1\n"),
        OldFile(path: "serv1/Fsmbd", text: "/home/samba/ /etc/smb.conf\n/var/lock/samba/\n"),
        OldFile(path: "serv1/Flpd", text: "/var/spool/lpd/ /etc/printcap\n"),
        OldFile(path: "serv1/S10smb", text: "#!/bin/sh\n", linksTo: "/etc/rc.d/init.d/smb"),
        OldFile(path: "serv1/K90smb", text: "#!/bin/sh\n", linksTo: "/etc/rc.d/init.d/smb"),
        OldFile(path: "serv2/Fmail", text: "/var/spool/mail/\nnot-whole\n"),
        OldFile(path: "serv2/Fsmbd", text: "/srv/other/\n"),
        OldFile(path: "serv2/S20sendmail", text: "#!/bin/sh\n"),
        OldFile(
            path: "crontab",
            text: """
                0,5,10,15,20,25,30,35,40,45,50,55 * * * * root /usr/local/bin/sync-app /etc/cluster.d/serv1/Fsmbd serv2-hb
                0 * * * * root /usr/local/bin/sync-app /etc/cluster.d/serv1/Flpd serv2-hb
                """),
        OldFile(path: "standby.lock", text: ""),
        OldFile(path: "README", text: "ours"),
    ]

    @Test("clusterd: what cannot be an interface's name is not carried over")
    func oddInterface() throws {
        let text = "MAIN_IPADDR=10.0.0.1\nREDUNDANT_INTERFACE=eth³\nMAIN_MACADDR=00:10:4B:63:1C:08\n"
        let imported = try Imported.read(.clusterd, [OldFile(path: "serv1.conf", text: text)], at: "/etc/cluster.d")
        #expect(imported.services.first?.value.mac == .own)
        #expect(!imported.text.contains("eth³"))
    }

    @Test("clusterd: every node's identity becomes a service, its lists become mirrors")
    func clusterd() throws {
        let imported = try Imported.read(.clusterd, Self.clusterd, at: "/etc/cluster.d")
        try compare(imported, "clusterd")
        #expect(imported.reach.count == 3)
        let serv1 = try #require(imported.services.first?.value)
        #expect(serv1.mac == .takeover && serv1.prefer.map(\.description) == ["serv1", "serv2"])
        #expect(serv1.run == .script(path: "/etc/cluster.d/serv1/"))
        #expect(
            imported.mirrors.map(\.value.schedule) == [
                .every(.seconds(3600)), .every(.seconds(300)), .every(.seconds(600)), .every(.seconds(600)),
            ])
        for missing in ["printer1", "PAGER_NUMBER", "not-whole", "standby.lock", "README", "/24 is a guess"] {
            #expect(imported.allRemarks.contains { $0.contains(missing) }, "nothing is said about \(missing)")
        }
    }

    @Test("heartbeat: every line of haresources becomes a service")
    func haresources() throws {
        let files = [
            OldFile(
                path: "haresources",
                text: """
                    # the web shop
                    serv1 IPaddr::192.168.1.50/24/eth0/192.168.1.255 httpd
                    serv1 192.168.1.51 drbddisk::r0 Filesystem::/dev/drbd0::/data::ext3 mysqld postgresql MailTo::root@localhost
                    serv2 \\
                        IPaddr2::192.168.1.52/24 named
                    serv2 Filesystem::/dev/sdb1::/backup::ext4
                    bad_node httpd
                    """),
            OldFile(
                path: "ha.cf",
                text: """
                    keepalive 2
                    deadtime 30
                    bcast eth1
                    auto_failback on
                    node serv1 serv2
                    ping 192.168.1.254
                    ping_group group1 192.168.1.10 gateway
                    respawn hacluster /usr/lib/heartbeat/ipfail
                    stonith_host * baytech 10.0.0.3 mylogin mysecret
                    logfacility local0
                    moon phase
                    """),
            OldFile(path: "authkeys", text: "auth 1\n1 sha1 secret-of-the-cluster\n"),
        ]
        let imported = try Imported.read(.haresources, files, at: "/etc/ha.d")
        try compare(imported, "haresources")
        #expect(imported.services.count == 4)
        #expect(imported.services.allSatisfy { $0.value.failback })
        #expect(!imported.text.contains("secret-of-the-cluster") && !imported.text.contains("mysecret"))
        for missing in ["MailTo", "drbddisk", "Filesystem", "moon", "bad_node", "gateway", "stonith_host", "authkeys"] {
            #expect(imported.allRemarks.contains { $0.contains(missing) }, "nothing is said about \(missing)")
        }
    }

    @Test("keepalived: every vrrp_instance becomes a service, its script the check")
    func keepalived() throws {
        let text = """
            ! Configuration File for keepalived
            global_defs {
               notification_email { ops@example.org }
               router_id LVS_1
            }
            vrrp_script chk_nginx {
                script "/usr/bin/pgrep nginx"
                interval 2
                fall 3
                weight -20
            }
            vrrp_script chk_sh { script "curl -sf http://localhost/ | grep ok" }
            vrrp_sync_group G1 { group { VI_1
             VI_2 } }
            vrrp_instance VI_1
            {
                state MASTER
                interface eth0
                virtual_router_id 51
                priority 150
                advert_int 1
                use_vmac vrrp.51
                authentication {
                    auth_type PASS
                    auth_pass 1111
                }
                virtual_ipaddress {
                    192.168.200.16/24 dev eth0 label eth0:vip  # the site
                    192.168.200.17
                    fd00::16/64
                }
                track_script {
                    chk_nginx
                    chk_sh
                }
                track_interface { eth1 weight 10 }
                notify_master "/usr/local/bin/master.sh"
            }
            vrrp_instance VI_2 {
                interface eth0
                nopreempt
                virtual_ipaddress { 127.0.0.5/8 }
                teapot 418
            }
            virtual_server 192.168.200.16 443 {
                protocol TCP
                persistence_timeout 50
                real_server 192.168.200.4 8443 { weight 1 }
                real_server 192.168.200.5 8443 { weight 1 }
            }
            include /etc/keepalived/conf.d/*.conf
            """
        let imported = try Imported.read(
            .keepalived, [OldFile(path: "keepalived.conf", text: text)], at: "/etc/keepalived/keepalived.conf")
        try compare(imported, "keepalived")
        let service = try #require(imported.services.first?.value)
        #expect(service.mac == .virtual && service.interface == "eth0")
        #expect(service.check == .exec(["/usr/bin/pgrep", "nginx"]))
        #expect(service.every == .seconds(2) && service.limits.failures == 3)
        #expect(!imported.text.contains("1111"))
        for missing in [
            "chk_sh", "notify_master", "track_interface", "127.0.0.5", "teapot", "include", "sync group", "weight -20",
        ] {
            #expect(imported.allRemarks.contains { $0.contains(missing) }, "nothing is said about \(missing)")
        }
    }

    @Test("heartbeat: nodes that go by a whole domain name keep its first label, and their groups")
    func domainNames() throws {
        let imported = try Imported.read(
            .haresources,
            [
                OldFile(
                    path: "haresources",
                    text: "node1.example.com 10.0.0.50/24/eth0 apache2\nnode2.example.com IPaddr::10.0.0.51/24 mysql\n"),
                OldFile(path: "ha.cf", text: "node node1.example.com\nnode node2.example.com\nlogfacility local0\n"),
            ], at: "/etc/ha.d")
        #expect(imported.services.map { $0.value.name.description } == ["apache2", "mysql"])
        #expect(imported.services[1].value.prefer.map(\.description) == ["node2", "node1"])
        #expect(imported.remarks.count { $0.contains("node1.example.com is called node1") } == 1)
        #expect(imported.remarks.contains { $0.contains("not needed: logfacility") })
    }

    @Test("clusterd: a folder that is being edited gives what is whole in it, and names the rest")
    func halfEdited() throws {
        let imported = try Imported.read(
            .clusterd,
            [
                OldFile(path: "serv1.conf", text: "MAIN_IPADDR=10.0.0.1\n"),
                OldFile(path: "serv1.conf~", text: "MAIN_IPADDR=10.9.9.9\n"),
                OldFile(path: "serv1/S20smb", text: "", linksTo: "/etc/init.d/smb", isThere: false),
                OldFile(path: "serv1/S20smb.dpkg-old", text: ""), OldFile(path: "serv1/S30new~", text: ""),
                OldFile(path: "serv1/Fsmbd", text: "/home/samba/\n/etc/sam"),
                OldFile(path: "serv1/Fsmbd.swp", text: "/etc/shadow\n"),
                // The line breaks off.
                OldFile(path: "serv2.conf", text: "MAIN_INTERFACE=eth0\nMAIN_IPADDR=10.0."),
                OldFile(path: "serv2/S10named", text: ""), OldFile(path: "serv3/S10web", text: ""),
                OldFile(path: "reachlist~", text: "10.0.0.7\n"), OldFile(path: "reachlist", text: "10.0.0.8\n10.0"),
            ], at: "/etc/cluster.d")
        #expect(imported.services.map { $0.value.name.description } == ["serv1", "serv2"])
        #expect(imported.services[0].value.run == .script(path: "/etc/cluster.d/serv1/"))
        #expect(imported.services[1].value.addresses == [])
        #expect(imported.mirrors.map(\.value.paths) == [["/home/samba/", "/etc/sam"]])
        #expect(imported.reach.map(\.description) == ["10.0.0.8"])
        for text in [
            "serv1.conf~ was not read", "serv1/S20smb.dpkg-old was not read", "serv1/S30new~ was not read",
            "serv1/Fsmbd.swp was not read", "reachlist~ was not read", "“10.0” was left out", "no serv3.conf",
            "serv1/S20smb leads to /etc/init.d/smb, which is not on this machine", "MAIN_IPADDR was left out",
        ] {
            #expect(imported.allRemarks.contains { $0.contains(text) }, "\(text): \(imported.allRemarks)")
        }
        #expect(!imported.text.contains("/etc/shadow") && !imported.text.contains("10.9.9.9"))
    }

    @Test("a folder without the files, or half a file, is refused with what to name")
    func refused() {
        for (setup, files) in [
            (OldSetup.clusterd, [OldFile(path: "x", text: "")]), (.haresources, []), (.keepalived, []),
            (.keepalived, [OldFile(path: "crontab", text: ""), OldFile(path: "hosts", text: "")]),
            (.keepalived, [OldFile(path: "keepalived.conf", text: "vrrp_instance A {\n")]),
            (.keepalived, [OldFile(path: "keepalived.conf", text: "}\n")]),
            (.keepalived, [OldFile(path: "keepalived.conf", text: String(repeating: "a {", count: 100))]),
        ] {
            #expect(throws: Refusal.self) { try Imported.read(setup, files, at: "/x") }
        }
    }

    @Test("files full of anything never make a document that apply cannot read", arguments: 0..<200)
    func anything(seed: Int) throws {
        var chance = SeededGenerator(seed: UInt64(seed))
        let pieces = [
            "serv1", " ", "\n", "IPaddr::", "10.0.0.1", "/24", "eth0", "{", "}", "vrrp_instance", "virtual_ipaddress",
            "#", "!", "\"",
            "script", "MAIN_IPADDR=", "\\", "::", "é\u{7}", ": ", "- ", "node", "ping", "/srv/", "F", "\u{2028}",
            "virtual_server 10.0.0.1 80",
            "real_server 10.0.0.2 80", "httpd", "S10a",
        ]
        func text() -> String { (0..<60).map { _ in pieces[Int(chance.next() % UInt64(pieces.count))] }.joined() }
        let sets: [(OldSetup, [OldFile])] = [
            (
                .clusterd,
                [
                    OldFile(path: "serv1.conf", text: text()), OldFile(path: "reach", text: text()),
                    OldFile(path: "serv1/F\(text().prefix(5))", text: text()), OldFile(path: "serv1/S10a", text: ""),
                    OldFile(path: "crontab", text: text()),
                ]
            ), (.haresources, [OldFile(path: "haresources", text: text()), OldFile(path: "ha.cf", text: text())]),
            (.keepalived, [OldFile(path: "keepalived.conf", text: text())]),
        ]
        for (setup, files) in sets {
            guard let imported = try? Imported.read(setup, files, at: "/etc/\u{7}x") else { continue }
            let document = try YAML.decode(ApplyDocument.self, from: imported.text)
            #expect(document.applied(to: DesiredState(), prune: true) == imported.state.canonical, "\(imported.text)")
        }
    }
}
