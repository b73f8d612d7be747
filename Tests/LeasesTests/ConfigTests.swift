import Leases
import Primitives
import Testing

@Suite("numbers that could let two nodes act at once are refused")
struct ConfigTests {
    @Test("every profile is safe as it is", arguments: LeaseConfig.Profile.allCases, [true, false])
    func profiles(profile: LeaseConfig.Profile, isPair: Bool) throws {
        try LeaseConfig(profile, isPair: isPair).validate()
    }
}
