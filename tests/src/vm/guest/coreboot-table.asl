// Tells Linux where coreboot's tables are, as coreboot itself does. Compiled: coreboot-table.aml
// (iasl -p coreboot-table coreboot-table.asl).
DefinitionBlock ("", "SSDT", 2, "UNBOX", "CBTABLE", 1)
{
    Scope (\_SB)
    {
        Device (CTBL)
        {
            Name (_HID, "BOOT0000")
            Name (_UID, Zero)
            Method (_STA, 0, NotSerialized) { Return (0x0F) }
            Name (_CRS, ResourceTemplate () { Memory32Fixed (ReadWrite, 0x1E000000, 0x00010000) })
        }
    }
}
