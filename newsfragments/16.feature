TCP takes less CPU time, about half of it for bulk data: segments of one read have one answer, headers of a flow are kept, and producers fill superpackets.
