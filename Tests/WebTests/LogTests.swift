import BrambleAPI
import Logging
import Testing
import WebTestSupport

@testable import Web

/// Everything a client does with a secret, with the log at its most talkative.
func talkSecrets() async throws {
    Log.threshold = .debug
    try await withServer { _, address in
        _ = try await request("POST", "/login", at: address, body: #"{"user":"admin","password":"guess-of-mine"}"#)
        let cookie = try await logIn(at: address)
        let own = [("Cookie", cookie), ("Origin", "http://bramble.test")]
        _ = try await request("POST", "/v1/tokens", at: address, headers: own, body: #"{"name":"ci"}"#)
        _ = try await request("GET", "/v1/nodes", at: address, headers: [("Authorization", "Bearer secret-of-ci")])
        _ = try await request("GET", "/v1/nodes?token=secret-of-ci", at: address, headers: own)
        _ = try await request(
            "POST", "/v1/password", at: address, headers: own,
            body: #"{"current":"correct horse","password":"guess-of-mine"}"#
        )
    }
}
