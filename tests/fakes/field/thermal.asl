// A thermal zone whose temperature is told from outside: whole degrees Celsius in the scratch register of the third
// serial port (0x3ef), which nobody uses. It is 0 after a reset, which stands for 45 degrees.
DefinitionBlock ("", "SSDT", 2, "EDGE", "HEAT", 1)
{
    Scope (\_TZ)
    {
        OperationRegion (PORT, SystemIO, 0x3EF, 1)
        Field (PORT, ByteAcc, NoLock, Preserve) { TOLD, 8 }
        ThermalZone (CHIP)
        {
            Method (_TMP, 0, Serialized)
            {
                Local0 = TOLD
                If (Local0 == 0) { Local0 = 45 }
                Return (2732 + Local0 * 10)
            }
            Method (_CRT, 0, Serialized) { Return (2732 + 1250) }
            Name (_TZP, 10)
        }
    }
}
